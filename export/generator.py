"""Made-up (query, product) pairs, for models that come without training data. Hand-written words, no data set."""

from numpy.random import default_rng

from artifact import Product

from .runtime import Pair

KINDS = (
    "desk lamp", "backpack", "water bottle", "phone case", "office chair", "frying pan", "rain jacket",
    "keyboard", "bicycle helmet", "cat litter", "shampoo", "wall clock", "screwdriver set", "picture frame",
    "protein powder", "sleeping bag", "hdmi cable", "tea pot", "sunglasses", "board game", "printer paper",
    "hair dryer", "guitar strings", "ladder", "pillow", "router", "tripod", "wine glasses", "car charger",
    "flower pot", "sneakers", "swimsuit",
)  # fmt: skip
QUALITIES = (
    "large", "small", "waterproof", "wireless", "foldable", "stainless steel", "organic", "kids", "professional",
    "vintage", "rechargeable", "lightweight", "heavy duty", "adjustable", "leather", "cotton", "LED", "2-pack",
    "for travel", "slim",
)  # fmt: skip
BRANDS = ("Voltaro", "Fjordhaus", "Stridewell", "Lumira", "Molino", "Kestrel & Co", "Anypart", "Novell-Õ")
COLORS = ("black", "white", "navy blue", "rose gold", "green", "multicolor")


def made_up_pairs(count: int, seed: int = 0, products: int = 1) -> list[Pair]:
    """`count` pairs of short queries and titles of 3 to 40 words; about one product in three fits its query.

    Each query stands with `products` of them, one after another.
    """
    random = default_rng(seed)

    def pick(words: tuple[str, ...], n: int) -> list[str]:
        return [words[i] for i in random.choice(len(words), size=n, replace=n > len(words))]

    pairs: list[Pair] = []
    query = wanted = ""
    for i in range(count):
        if i % products == 0:
            wanted = pick(KINDS, 1)[0]
        kind = wanted if random.random() < 0.35 else pick(KINDS, 1)[0]
        if i % products == 0:
            query = " ".join([*pick(QUALITIES, int(random.integers(0, 3))), wanted])
        words = [*pick(QUALITIES, int(random.integers(1, 6))), kind]
        while random.random() < 0.45:
            words += ["with", *pick(QUALITIES, 3), *pick(KINDS, 1), f"{random.integers(1, 900)} cm"]
        product: Product = {
            "title": " ".join(words).title(),
            "brand": pick(BRANDS, 1)[0] if random.random() < 0.8 else None,
            "color": pick(COLORS, 1)[0] if random.random() < 0.6 else None,
            "product_type": kind if random.random() < 0.5 else None,
        }
        pairs.append((query, product))
    return pairs
