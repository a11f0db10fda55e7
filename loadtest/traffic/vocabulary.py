"""Hand-written words for synthetic products: what is sold, by whom, and what its titles boast of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProductType:
    """A kind of product, the words shoppers use for it, and its attributes by group; a title takes one of a group."""

    name: str
    nouns: tuple[str, ...]
    attributes: tuple[tuple[str, ...], ...]
    brands: tuple[str, ...]


_TECH = ("Norvik", "Lumetra", "Zephyon", "Quantix", "Orbiton", "Haldex", "Pixelmere", "Voltara")
_HOME = ("Hearthley", "Casa Lino", "Oakfold", "Brightmoor", "Tamsin & Co", "Kestrel Home")
_WEAR = ("Ridgeway", "Marlow", "Fjellby", "Solenne", "Trailhawk", "Urban Loom")

PRODUCT_TYPES: tuple[ProductType, ...] = (
    ProductType(
        "laptop",
        ("laptop", "notebook", "notebook computer"),
        (
            ('13.3" Full HD', '14" IPS display', '15.6" touchscreen', '17.3" 4K UHD'),
            ("8 GB RAM", "16 GB DDR5", "32 GB LPDDR5X"),
            ("256 GB SSD", "512 GB NVMe SSD", "1 TB PCIe SSD"),
            ("Windows 11 Home", "Windows 11 Pro", "Linux", "Chrome OS"),
            ("backlit keyboard", "fingerprint reader", "Wi-Fi 6E"),
        ),
        _TECH,
    ),
    ProductType(
        "charger",
        ("USB-C charger", "laptop charger", "power adapter", "wall charger"),
        (
            ("20W", "45W", "65W GaN", "100W", "140W"),
            ("single port", "2-port", "3-port with USB-A"),
            ("foldable plug", "with 2 m cable", "travel size"),
            ("Power Delivery 3.0", "fast charging", "PPS"),
        ),
        _TECH,
    ),
    ProductType(
        "headphones",
        ("wireless headphones", "Bluetooth earbuds", "over-ear headset", "gaming headset"),
        (
            ("active noise cancelling", "passive isolation", "transparency mode"),
            ("30 h battery", "40 hours playtime", "8 h per charge"),
            ("with microphone", "detachable boom mic", "dual mics"),
            ("Bluetooth 5.3", "2.4 GHz dongle", "3.5 mm jack"),
        ),
        _TECH,
    ),
    ProductType(
        "monitor",
        ("monitor", "LED monitor", "gaming monitor", "curved display"),
        (
            ('24"', '27"', '32"', '34" ultrawide'),
            ("1920 x 1080", "2560 x 1440", "3840 x 2160"),
            ("60 Hz", "144 Hz", "240 Hz 1 ms"),
            ("HDMI DisplayPort", "USB-C 90W", "VESA mount"),
        ),
        _TECH,
    ),
    ProductType(
        "toner cartridge",
        ("toner cartridge", "ink cartridge", "printer ink", "drum unit"),
        (
            ("original", "compatible", "remanufactured"),
            ("black", "cyan", "magenta", "yellow"),
            ("2,300 pages", "high yield 7,000 pages", "XL"),
            ("for LaserPro 400 series", "for InkJet 3700", "for OfficeLine MFP 4570dn"),
        ),
        _TECH,
    ),
    ProductType(
        "network cable",
        ("patch cable", "Ethernet cable", "network lead", "fibre patch cord"),
        (
            ("Cat5e", "Cat6", "Cat6a S/FTP", "Cat8"),
            ("0.5 m", "1 m", "3 m", "10 ft", "20 m"),
            ("snagless RJ45", "molded boots", "LC/SC duplex"),
        ),
        _TECH,
    ),
    ProductType(
        "coffee maker",
        ("coffee machine", "espresso maker", "drip coffee maker", "pod coffee machine"),
        (
            ("15 bar", "20 bar pump", "12 cup"),
            ("with milk frother", "built-in grinder", "glass carafe", "thermal carafe"),
            ("programmable timer", "auto shut-off", "descaling alert"),
            ("1.2 L tank", "1.8 litre removable water tank"),
        ),
        _HOME,
    ),
    ProductType(
        "bedding",
        ("duvet cover set", "bed sheets", "pillowcases", "quilt"),
        (
            ("queen", "king size", "twin XL", "double"),
            ("100 % cotton", "washed linen", "microfibre", "400 thread count sateen"),
            ("with zipper", "deep pocket", "hypoallergenic", "OEKO-TEX certified"),
        ),
        _HOME,
    ),
    ProductType(
        "desk lamp",
        ("desk lamp", "reading light", "floor lamp", "bedside lamp"),
        (
            ("dimmable LED", "E27 bulb included", "warm white 2700K"),
            ("USB charging port", "clamp base", "touch control"),
            ("adjustable arm", "gooseneck", "foldable"),
        ),
        _HOME,
    ),
    ProductType(
        "storage box",
        ("storage box with lid", "stackable bins", "drawer organizer", "laundry basket"),
        (
            ("5 L", "32 litre", "large", "small"),
            ("set of 3", "pack of 6", "12 pcs"),
            ("clear plastic", "woven", "felt"),
        ),
        _HOME,
    ),
    ProductType(
        "running shoes",
        ("running shoes", "trail runners", "trainers", "walking sneakers"),
        (
            ("men's", "women's", "unisex", "kids"),
            ("size 7", "size 9.5", "size 11 wide", "EU 42"),
            ("lightweight mesh", "waterproof", "carbon plate", "memory foam insole"),
            ("neutral cushioning", "stability", "non slip"),
        ),
        _WEAR,
    ),
    ProductType(
        "jacket",
        ("rain jacket", "down jacket", "fleece", "windbreaker", "parka"),
        (
            ("men's", "women's", "girls", "plus size"),
            ("waterproof 10,000 mm", "insulated", "packable", "breathable"),
            ("with hood", "zip pockets", "reflective details"),
            ("size M", "XL", "2XL tall"),
        ),
        _WEAR,
    ),
    ProductType(
        "backpack",
        ("backpack", "laptop backpack", "hiking rucksack", "school bag"),
        (
            ("18 L", "25 litre", "40L", "65 L expedition"),
            ("water resistant", "anti-theft", "with rain cover"),
            ('fits 15.6" laptop', "USB port", "hydration compatible", "padded straps"),
        ),
        _WEAR,
    ),
)

SERIES = ("Aero", "Pro", "Nova", "Prime", "Essential", "Max", "Lite", "Studio", "Classic", "Ultra", "Edge", "One")
COLORS = ("black", "white", "navy blue", "grey", "silver", "red", "sage green", "rose gold", "beige", "", "", "")
BOASTS = (
    "ideal gift for men and women",
    "for home, office and travel",
    "easy to clean",
    "2 year warranty",
    "new 2025 model",
    "compatible with most devices, see list in description",
    "premium quality, compact and portable design",
    "energy efficient",
    "eco-friendly packaging",
    "upgraded version with improved durability",
)
