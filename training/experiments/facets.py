"""Facets of a product: the attributes that shoppers ask for, with one canonical value per meaning, and the wordings in
which a query or a title may show a value."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Facets = Mapping[str, frozenset[str]]
"""Facet name -> the values that a product has; a facet that nothing is known of is absent."""

_COLOURS = "black white grey silver blue red green yellow orange pink purple brown beige gold cyan magenta turquoise"
COLOURS = {word: word for word in _COLOURS.split()} | {"gray": "grey", "violet": "purple", "aqua": "turquoise"}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_FEET_PER_METRE = 1 / 0.3048
_METRES = (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 25, 30, 40, 50, 100)
_SAME_IN_FEET = {1.5: 5, 3: 10, 15: 50, 30: 100}
_FEET = (0.5, 1, 2, 3, 4, 6, 7, 12, 14, 15, 20, 25, 35, 40, 75, 200)
_USUAL_LENGTHS = (*_METRES, *(round(feet / _FEET_PER_METRE, 2) for feet in _FEET))
_CORES = {"1": "single core", "2": "dual core", "4": "quad core", "6": "hexa core", "8": "octa core"}


@dataclass(frozen=True, slots=True)
class Facet:
    """A facet.

    Attributes:
        name: stands before the value in a product's description.
        keys: the attributes of the catalogue that hold its values.
        read: an attribute's text -> canonical values.
        words: a canonical value -> wordings of it, the most usual first.
    """

    name: str
    keys: tuple[str, ...]
    read: Callable[[str], set[str]]
    words: Callable[[str], tuple[str, ...]]


def number(text: str) -> str:
    """A number as shoppers write it: no zeros behind the point."""
    return f"{float(text):.4g}" if float(text) < 10_000 else f"{float(text):.0f}"


def normal(text: str) -> str:
    """Lower case, words and numbers alone, so that wordings can be looked for in a text."""
    return f" {' '.join(re.findall(r'[a-z]+|[0-9]+(?:[.][0-9]+)?', text.lower()))} "


def shows(text: str, facet: str, value: str) -> bool:
    """Whether a `normal` text shows a facet's value in one of its wordings."""
    return any(normal(words) in text for words in wordings(facet, value))


def wordings(facet: str, value: str) -> tuple[str, ...]:
    """The wordings of a facet's value, lower case."""
    if facet == "brand":
        return _brand_words(value)
    return FACETS[facet].words(value)


def read_facets(title: str, brand: str, attributes: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """The facets of a product by its attributes; colour and length by its title where the attributes lack them."""
    found = {"brand": frozenset({brand.lower()})} if brand else {}
    for facet in FACETS.values():
        values: set[str] = set()
        for key in facet.keys:
            if key in attributes:
                values |= facet.read(attributes[key])
        if values:
            found[facet.name] = frozenset(values)
    if "colour" not in found and (colours := _colours(title)):
        found["colour"] = frozenset(colours)
    if "length" not in found and "cable" in title.lower() and (length := _length_in(title)):
        found["length"] = frozenset({length})
    return found


def _brand_words(value: str) -> tuple[str, ...]:
    short = re.sub(r"(\.com| technology| lite| networks)$", "", value)
    return (short, value) if short != value else (value,)


def _colours(text: str) -> set[str]:
    return {COLOURS[word] for word in re.findall(r"[a-z]+", text.lower()) if word in COLOURS}


def _numbers(text: str) -> set[str]:
    match = _NUMBER.fullmatch(text.strip())
    return {number(match[0])} if match and 0 < float(match[0]) < 1e6 else set()


def _many(text: str) -> set[str]:
    return {value for value in _numbers(text) if float(value) > 1}


def _true(text: str) -> set[str]:
    return {"true"} if text in ("True", "Y") else set()


def _length(metres: float) -> str:
    """In metres; one of the lengths that cables usually have where it is within 2 % of one: makers round feet."""
    usual = min(_USUAL_LENGTHS, key=lambda length: abs(length - metres))
    return number(str(usual if abs(usual - metres) <= 0.02 * usual else metres))


def _lengths(text: str) -> set[str]:
    return {_length(float(value)) for value in _numbers(text)}


def _length_in(title: str) -> str | None:
    if match := re.search(r"\b(\d+(?:[.,]\d+)?) ?(?:m|metre|meter)s?\b", title, re.IGNORECASE):
        return _length(float(match[1].replace(",", ".")))
    if match := re.search(r"\b(\d+(?:\.\d+)?)[ -]?(?:ft|foot|feet)\b", title, re.IGNORECASE):
        return _length(float(match[1]) / _FEET_PER_METRE)
    return None


def _length_words(value: str) -> tuple[str, ...]:
    metres = float(value)
    words = [f"{value}m", f"{value} meter", f"{value} metre"]
    feet = _SAME_IN_FEET.get(metres) or (None if metres in _METRES else round(metres * _FEET_PER_METRE, 1))
    if feet is not None and feet == round(feet):
        in_feet = [f"{feet:.0f}ft", f"{feet:.0f} foot", f"{feet:.0f} feet"]
        words = words + in_feet if metres in _METRES else in_feet + words
    if metres < 1:
        words.append(f"{number(str(metres * 100))}cm")
    return tuple(words)


def _storage_words(value: str) -> tuple[str, ...]:
    gigabytes = float(value)
    if gigabytes >= 1000:
        return (f"{number(str(gigabytes / 1000))}tb", f"{value}gb")
    return (f"{value}gb", f"{value} gigabyte") if gigabytes >= 1 else (f"{number(str(gigabytes * 1024))}mb",)


def _memory_words(value: str) -> tuple[str, ...]:
    return tuple(words for size in _storage_words(value) for words in (size, f"{size} ram"))


def _pattern(pattern: str) -> Callable[[str], set[str]]:
    """Reads every match, lower case; of a match with a group, the group."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda text: {match.lower() for match in compiled.findall(text)}


def _vocabulary(words: Mapping[str, str]) -> Callable[[str], set[str]]:
    """Reads the values whose regular expression the text shows."""
    compiled = {value: re.compile(pattern, re.IGNORECASE) for value, pattern in words.items()}
    return lambda text: {value for value, pattern in compiled.items() if pattern.search(text)}


def _as(*templates: str) -> Callable[[str], tuple[str, ...]]:
    return lambda value: tuple(template.format(value) for template in templates)


def _table(words: Mapping[str, tuple[str, ...]]) -> Callable[[str], tuple[str, ...]]:
    return lambda value: words.get(value, (value,))


CONNECTORS = {
    "rj45": r"rj-?45",
    "rj11": r"rj-?11",
    "usb a": r"usb (type-?)?a\b",
    "usb b": r"usb (type-?)?b\b",
    "mini usb": r"mini-?usb",
    "micro usb": r"micro-?usb",
    "usb c": r"usb (type-?)?c\b",
    "vga": r"vga|hd-?15|d-sub",
    "dvi": r"\bdvi",
    "hdmi": r"hdmi",
    "displayport": r"displayport",
    "3.5mm": r"3\.5 ?mm",
    "rca": r"rca",
    "xlr": r"xlr",
    "toslink": r"toslink",
    "lc": r"\blc\b",
    "sc": r"\bsc\b",
    "st": r"\bst\b",
    "db9": r"db-?9",
    "db25": r"db-?25",
    "ps/2": r"ps/2",
    "bnc": r"bnc",
    "c13": r"c13",
    "c14": r"c14",
}
BATTERIES = {
    "lithium ion": r"li-?ion|lithium-ion",
    "lithium polymer": r"lipo|polymer",
    "lead acid": r"lead acid|vrla",
    "alkaline": r"alkaline",
    "nimh": r"nimh|metal hydride",
}
_MATERIALS = "leather nylon polyester aluminium steel plastic neoprene paper silicone film"
MATERIALS = {word: word for word in _MATERIALS.split()}
_YIELDS = ("black_toner_page_yield", "colour_toner_page_yield", "page_yield", "black_ink_page_yield", "printing_life")
_STORAGE = ("total_storage_capacity", "hdd_capacity", "ssd_capacity", "capacity", "native_capacity")

FACETS: dict[str, Facet] = {
    facet.name: facet
    for facet in (
        Facet(
            "colour",
            ("product_colour", "cable_colour", "printing_colours"),
            _colours,
            _table({"grey": ("grey", "gray")}),
        ),
        Facet("length", ("cable_length",), _lengths, _length_words),
        Facet(
            "connector", ("connector_1", "connector_2"), _vocabulary(CONNECTORS), _table({"rj45": ("rj45", "rj-45")})
        ),
        Facet("category", ("cable_standard", "cable_type"), _pattern(r"cat[5-8][ea]?\b"), _as("{}")),
        Facet("shielding", ("cable_shielding",), _vocabulary({"utp": r"\(utp\)", "stp": r"stp\)"}), _as("{}")),
        Facet("for", ("brand_compatibility",), _pattern(r"[A-Za-z][\w-]+"), _as("for {}", "{} compatible", "{}")),
        Facet("yield", _YIELDS, _many, _as("{} pages", "{} page")),
        Facet(
            "cartridge", ("cartridge_capacity",), _vocabulary({"high yield": "high"}), _as("{}", "xl", "high capacity")
        ),
        Facet("ink", ("ink_type",), _pattern(r"pigment|dye"), _as("{}", "{} based")),
        Facet("technology", ("print_technology",), _pattern(r"laser|inkjet|dot matrix|thermal"), _as("{}")),
        Facet("memory", ("internal_memory",), _numbers, _memory_words),
        Facet("memory type", ("internal_memory_type",), _pattern(r"ddr[2-4]?"), _as("{}")),
        Facet("memory speed", ("memory_clock_speed",), _numbers, _as("{}mhz", "{} mhz")),
        Facet("ecc", ("ecc",), _true, lambda _: ("ecc",)),
        Facet("storage", _STORAGE, _numbers, _storage_words),
        Facet("drive", ("storage_media",), _pattern(r"ssd|hdd"), _as("{}", "with {}")),
        Facet("screen", ("display_diagonal", "maximum_screen_size_compatibility"), _numbers, _as("{} inch", '{}"')),
        Facet(
            "resolution",
            ("display_resolution",),
            _pattern(r"\d{3,4} x \d{3,4}"),
            _table({"1920 x 1080": ("1920 x 1080", "full hd", "1080p"), "3840 x 2160": ("3840 x 2160", "4k")}),
        ),
        Facet("touchscreen", ("touchscreen",), _true, lambda _: ("touchscreen", "touch screen")),
        Facet(
            "processor",
            ("processor_family",),
            _pattern(r"core i\d|core 2 \w+|xeon|pentium(?: \d)?|celeron|ryzen \d|atom"),
            _as("{}"),
        ),
        Facet("clock", ("processor_frequency",), _numbers, _as("{}ghz", "{} ghz")),
        Facet(
            "cores", ("processor_cores",), _numbers, lambda value: (_CORES.get(value, f"{value} core"), f"{value} core")
        ),
        Facet("socket", ("processor_socket",), _pattern(r"lga \d+|socket [0-9]{3}\b"), _as("{}")),
        Facet(
            "system",
            ("operating_system_installed",),
            _pattern(r"windows (?:xp|vista|\d+)|android|chrome os"),
            _as("{}"),
        ),
        Facet(
            "graphics",
            ("discrete_graphics_adapter_model",),
            _pattern(r"geforce \w+ \d+|radeon \w+ \d+|quadro \w+"),
            _as("{}"),
        ),
        Facet("connection", ("connectivity_technology",), _pattern(r"wireless|wired"), _as("{}")),
        Facet("bluetooth", ("bluetooth",), _true, lambda _: ("bluetooth",)),
        Facet(
            "interface",
            ("device_interface", "host_interface"),
            _pattern(r"usb|ps/2|pci express|pcie|pci|wireless"),
            _as("{}"),
        ),
        Facet("keyboard", ("keyboard_layout",), _pattern(r"qwerty|azerty|qwertz"), _as("{}")),
        Facet(
            "finish",
            ("finish_type",),
            _vocabulary({"glossy": r"^(high-)?gloss", "matte": r"^matte?\b", "satin": "satin"}),
            _as("{}"),
        ),
        Facet("paper", ("maximum_iso_a_series_paper_size", "format"), _pattern(r"a\d\+?"), _as("{}")),
        Facet("adhesive", ("adhesive_type",), _pattern(r"permanent|removable"), _as("{}")),
        Facet("material", ("material", "jacket_material"), _vocabulary(MATERIALS), _as("{}")),
        Facet(
            "pieces",
            ("quantity_per_pack", "labels_per_pack", "number_of_puzzle_pieces"),
            _many,
            _as("{} pcs", "{} pc", "{} pack", "pack of {}"),
        ),
        Facet(
            "battery",
            ("battery_technology",),
            _vocabulary(BATTERIES),
            _table({"lithium ion": ("lithium ion", "li-ion")}),
        ),
        Facet(
            "battery size",
            ("battery_type", "battery_size"),
            _vocabulary({"aa": r"\baa\b", "aaa": r"\baaa\b"}),
            _as("{}"),
        ),
        Facet("power", ("output_power",), _numbers, _as("{}w", "{} watt")),
        Facet("load", ("output_power_capacity",), _numbers, _as("{}va", "{} va")),
        Facet("outlets", ("ac_outlets_quantity",), _many, _as("{} outlet", "{} outlets")),
        Facet("rack units", ("rack_capacity",), _pattern(r"\d+u"), _as("{}")),
    )
}
