"""Pairs whose logits an artifact promises: written by hand for this project, rows of no data set.

They cover product categories, matches and mismatches, and the corners of the input: absent fields, other scripts,
emoji, special tokens in text, queries and titles over every limit.
"""

from artifact import PRODUCT_FIELDS, GoldenPair, Product

from .runtime import Pair

LONG_QUERY = "waterproof hiking boots with ankle support for wide feet " * 8
LONG_TITLE = " ".join(f"replacement part number {n} for model {n * 37 % 1000}" for n in range(90))

GOLDEN_PAIRS: tuple[Pair, ...] = (
    ("usb c laptop charger", {"title": "65 W USB-C Power Adapter for Notebooks", "brand": "Voltaro", "color": "black"}),
    ("usb c laptop charger", {"title": "Walnut Salad Bowl, 28 cm", "brand": "Fjordhaus", "product_type": "bowl"}),
    (
        "running shoes women",
        {
            "title": "Women's Lightweight Running Shoe, Breathable Mesh",
            "brand": "Stridewell",
            "color": "coral",
            "product_type": "shoes",
            "gender": "women",
        },
    ),
    ("running shoes women", {"title": "Men's Leather Dress Shoe", "color": "brown", "gender": "men"}),
    ("4k tv 55 inch", {"title": 'Ultra HD Smart Television 55" (139 cm)', "brand": "Lumira", "product_type": "tv"}),
    ("4k tv 55 inch", {"title": "Wall Mount for 32 to 55 inch Televisions", "product_type": "mount"}),
    ("ink cartridge black xl", {"title": "High-Yield Black Ink for Office Printers", "color": "black"}),
    ("dog food grain free", {"title": "Grain-Free Salmon & Potato Dry Food, 12 kg", "description": "For adult dogs."}),
    ("baby car seat", {"title": "Rear-Facing Infant Seat with ISOFIX Base", "brand": "", "color": None}),
    ("garden hose 50 ft", {"title": "Expandable Hose, 15 m, with Brass Fittings", "color": "green"}),
    ("noise cancelling headphones", {"title": "Over-Ear Wireless Headphones with Active Noise Cancelling"}),
    ("noise cancelling headphones", {"title": "Foam Ear Plugs, 50 Pairs"}),
    ("coffee beans", {"title": "Coffee Grinder with Stainless Burrs", "brand": "Molino", "product_type": "grinder"}),
    ("yoga mat thick", {"title": "Extra Thick Exercise Mat, 15 mm", "color": "purple", "description": "Non-slip."}),
    ("lego castle", {"title": "Building Bricks: Knight's Castle, 1,200 Pieces", "product_type": "toy"}),
    ("x", {"title": "X"}),
    ("crème brûlée torch", {"title": "Küchenbrenner für Crème brûlée – nachfüllbar", "brand": "Flammé"}),
    ("茶道 抹茶", {"title": "宇治抹茶 100g 茶道用", "color": "緑"}),
    ("سماعات لاسلكية", {"title": "سماعات رأس لاسلكية مع ميكروفون", "brand": "Sawt"}),
    ("🎁 gift for mum", {"title": "Scented Candle Gift Set 🕯️🌸", "description": "Birthday present"}),
    ("what is [SEP] in a title", {"title": "[CLS] forged [SEP] structure [PAD] [MASK]", "brand": "[UNK]"}),
    ("wd-40", {"title": "Multi-Use Lubricant Spray 450ml (2-pack) #A/B+C%", "product_type": "lubricant"}),
    (LONG_QUERY, {"title": "Waterproof Hiking Boots, Wide Fit", "product_type": "boots"}),
    ("replacement part 37", {"title": LONG_TITLE, "brand": "Anypart", "color": "grey", "description": LONG_TITLE}),
)


def with_logits(pairs: tuple[Pair, ...], logits: dict[str, list[float]]) -> tuple[GoldenPair, ...]:
    """Golden pairs of a manifest; `logits` holds one list in pair order for each variant."""
    return tuple(
        GoldenPair(query=query, product=_present(product), logits={name: values[i] for name, values in logits.items()})
        for i, (query, product) in enumerate(pairs)
    )


def _present(product: Product) -> dict[str, str]:
    return {name: text for name in PRODUCT_FIELDS if (text := product.get(name)) is not None}
