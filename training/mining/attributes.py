"""What a product's fields and title say of its type, brand, colours, sizes and models, in one spelling each."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_COLOUR_NAMES = (
    "amber anthracite aqua azure beige black blue bronze brown burgundy champagne charcoal chrome copper coral cream "
    "crimson cyan fuchsia gold graphite green grey indigo ivory khaki lavender lilac lime magenta maroon mint "
    "multicolour mustard navy olive orange peach pink platinum purple red rose ruby salmon silver tan teal "
    "transparent turquoise violet white yellow"
)
COLOURS = frozenset(_COLOUR_NAMES.split())
_SAME_COLOUR = {
    "gray": "grey",
    "multicolor": "multicolour",
    "multi": "multicolour",
    "golden": "gold",
    "clear": "transparent",
}
_UNITS = {
    "in": '"', "inch": '"', "inches": '"', "”": '"', "″": '"', "ft": "ft", "feet": "ft", "foot": "ft",
    "litre": "l", "litres": "l", "liter": "l", "liters": "l", "lbs": "lb", "watt": "w", "watts": "w", "volt": "v",
    "meter": "m", "metre": "m", "meters": "m", "metres": "m", "grams": "g", "gram": "g", "qt": "quart",
    **dict.fromkeys(("pack", "packs", "pk", "pc", "pcs", "pc(s)", "pieces", "piece", "count", "ct", "set"), "pack"),
}  # fmt: skip
_NUMBER = r"(?<![\w.,])(\d+(?:[.,]\d+)?)"
_SIZES = (
    re.compile(
        _NUMBER + r"[\s-]?(tb|gb|mb|kb|mm|cm|km|meters?|metres?|m|inch(?:es)?|feet|foot|ft|ml|cl|lit(?:re|er)s?|l|kg|mg"
        r"|grams?|oz|lbs?|gal|qt|watts?|kw|w|volts?|v|mah|ah|ghz|mhz|khz|hz|mp|dpi|rpm|pc\(s\)|pcs?|packs?|pk|pieces?"
        r"|count|ct)(?!\w)",
        re.IGNORECASE,
    ),
    re.compile(_NUMBER + r"(?:\s?([\"”″])|-?(in)(?![\w-])|\s(in)(?=\s?[x)/,]|$))", re.IGNORECASE),
    # 5G is a network, 5 g a weight
    re.compile(_NUMBER + r"(?:\s?)(g)(?!\w)"),
    re.compile(r"\b(?:pack|set|box|case)\sof\s(\d+)()\b", re.IGNORECASE),
)
_GARMENT = re.compile(r"\bsize:?\s(x{0,4}[sl]|m|\d+(?:[.,]5)?)(?!\w)", re.IGNORECASE)
_TOKEN = re.compile(r"\w+(?:[-/.]\w+)*")
# Names of standards have letters and digits too, but tell no model
_STANDARD = re.compile(
    r"(?:usb|rj|rs|cat|g?ddr|db|hd|mp|lp|om|lga|bt|ip|ipx|iec|pci|sata|hdmi|wifi|ps|win|windows|sd|gen|type|class"
    r"|no|lr)[.-]?\d[\d./-]*[a-z]{0,2}|[achv]\d(?:\.\d)?|c1\d|h26[45]"
    r"|g?ddr\d?-?(?:sdram|\d+)|\d+(?:p|k|d|g|x|u|st|nd|rd|th|s|in)|802\.11.*"
    r"|\d+-?(?:port|pin|min|in-?1|bit)|\d+x\d+|[\d./-]+"
)
_PLAIN_NUMBER = re.compile(r"\d{3,6}")
_NOISE_WORDS = "a an and by for from in of on or pack set size the to with x"
_NOISE = frozenset(_NOISE_WORDS.split())


@dataclass(frozen=True, slots=True)
class Attributes:
    """Attributes of a product; empty where nothing says.

    Attributes:
        kind: product type, or where the product has none, the words of its title that tell no other attribute.
        brand: brand in lower case.
        colours: names in lower case, in alphabetical order.
        sizes: numbers with a unit, such as `16 gb`, `27 "`, `3 pack`.
        models: model numbers without letter case and separators, such as `mx500`.
        words: the words of the title that tell no other attribute, in their order.
    """

    kind: str
    brand: str
    colours: tuple[str, ...]
    sizes: tuple[str, ...]
    models: tuple[str, ...]
    words: tuple[str, ...]


def attributes_of(product: Mapping[str, str], brands: Collection[str] = ()) -> Attributes:
    """Reads a product's attributes.

    Args:
        product: its fields.
        brands: brands in lower case, to look for at the start of the title where the product names none.
    """
    title = product.get("title", "")
    brand = " ".join(product.get("brand", "").casefold().split()) or _leading_brand(title, brands)
    rest = _without_brand(title, brand)
    sizes: set[str] = set()
    for pattern in _SIZES:
        sizes.update(_size(*(part for part in found.groups() if part is not None)) for found in pattern.finditer(rest))
        rest = pattern.sub(" ", rest)
    sizes.update(f"size {found.group(1).casefold()}" for found in _GARMENT.finditer(rest))
    rest = _GARMENT.sub(" ", rest)
    colours = colours_of(product.get("color", ""))
    models, words = [], []
    in_title = set()
    for token in _TOKEN.findall(rest.casefold()):
        colour = _SAME_COLOUR.get(token, token)
        if _is_model(token):
            models.append(re.sub(r"[\W_]", "", token))
        elif colour in COLOURS:
            in_title.add(colour)
        elif token not in _NOISE:
            words.append(singular(token))
    return Attributes(
        kind=type_of(product) or " ".join(sorted(set(words))),
        brand=brand,
        colours=tuple(sorted(colours or in_title)),
        sizes=tuple(sorted(sizes)),
        models=tuple(sorted(set(models))),
        words=tuple(dict.fromkeys(words)),
    )


def type_of(product: Mapping[str, str]) -> str:
    """The product type in one spelling: the last step of a category path, in lower case and the singular."""
    steps = re.split(r"\s*[>|]\s*|\s+/\s+", product.get("product_type", ""))
    # a step without a letter is a code, which no shopper asks for
    steps = [step for step in steps if re.search(r"[^\W\d_]", step)]
    return " ".join(singular(word) for word in steps[-1].casefold().split()) if steps else ""


def colours_of(text: str) -> set[str]:
    """The colours that a colour field names: `Black/Gray` is {black, grey}."""
    names = (" ".join(name.casefold().split()) for name in re.split(r"[,/|;&+]|\band\b", text))
    return {_SAME_COLOUR.get(name, name) for name in names if name}


def singular(word: str) -> str:
    """An English word without its plural ending: enough to tell that two spellings are one word."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _size(number: str, unit: str = "") -> str:
    value = float(number.replace(",", "."))
    return f"{value:g} {_UNITS.get(unit.casefold(), unit.casefold()) or 'pack'}"


def _is_model(token: str) -> bool:
    if _PLAIN_NUMBER.fullmatch(token):
        return True
    has_both = any(c.isdigit() for c in token) and any(c.isalpha() for c in token)
    return has_both and len(token) > 2 and not _STANDARD.fullmatch(token)


def _leading_brand(title: str, brands: Collection[str]) -> str:
    words = title.casefold().split()
    for length in (3, 2, 1):
        start = " ".join(words[:length])
        if start in brands and len(words) > length:
            return start
    return ""


def _without_brand(title: str, brand: str) -> str:
    if not brand:
        return title
    return re.sub(rf"(?<!\w){re.escape(brand)}(?!\w)", " ", title, flags=re.IGNORECASE)
