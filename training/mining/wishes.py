"""What a query made from attributes asks for, how a shopper writes it, and how far a product meets it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from .attributes import Attributes, singular

# how many attributes besides the type a query asks for, and how often
_EXTRAS = (0, 1, 2, 3)
_SHARES = (0.1, 0.4, 0.35, 0.15)


@dataclass(frozen=True, slots=True)
class Wish:
    """The attributes that a query asks for; empty where it does not ask. The type is always asked for."""

    kind: str
    brand: str = ""
    colour: str = ""
    size: str = ""
    feature: str = ""

    @property
    def asked(self) -> int:
        """How many attributes are asked for."""
        return sum(bool(getattr(self, field.name)) for field in fields(self))


def draw_wish(attributes: Attributes, is_feature: Callable[[str], bool], random: np.random.Generator) -> Wish:
    """A wish that the product with these attributes meets in full.

    Args:
        attributes: of the product; it has a type.
        is_feature: whether a word of the title is one that shoppers may ask for.
        random: draws which attributes are asked for.
    """
    kind_words = set(attributes.kind.split())
    features = [word for word in attributes.words if word not in kind_words and is_feature(word)]
    has: dict[str, tuple[str, ...]] = {
        "brand": (attributes.brand,) if attributes.brand else (),
        "colour": attributes.colours if len(attributes.colours) == 1 else (),
        "size": attributes.sizes,
        "feature": tuple(features),
    }
    available = [name for name, values in has.items() if values]
    extras = min(int(random.choice(_EXTRAS, p=_SHARES)), len(available))
    picked = random.permutation(available).tolist()[:extras] if extras else []
    return Wish(attributes.kind, **{name: str(random.choice(has[name])) for name in sorted(picked)})


def write_wish(wish: Wish, random: np.random.Generator) -> str:
    """The wish as a query: usually the type last, else in any order; sizes in one of their spellings."""
    before = [text for text in (wish.brand, wish.colour, _written(wish.size, random), wish.feature) if text]
    parts = [*random.permutation(before).tolist(), wish.kind] if before else [wish.kind]
    if random.random() < 0.3:
        parts = random.permutation(parts).tolist()
    return " ".join(parts)


def agreeing(wish: Wish, attributes: Attributes, product: Mapping[str, str]) -> int | None:
    """How many of the attributes asked for a product has; 0 where it is of another type, whatever else it has.

    Returns:
        None where the product does not say what it would take to know: its brand, its colour, a size in that unit.
    """
    if attributes.kind != wish.kind:
        return 0
    count = 1
    if wish.brand:
        if not attributes.brand:
            return None
        count += attributes.brand == wish.brand
    if wish.colour:
        if not attributes.colours:
            return None
        count += wish.colour in attributes.colours
    if wish.size:
        if not any(_unit(size) == _unit(wish.size) for size in attributes.sizes):
            return None
        count += wish.size in attributes.sizes
    if wish.feature:
        text = f"{product.get('title', '')} {product.get('description', '')}"
        count += wish.feature in {singular(word) for word in re.findall(r"\w+(?:[-/.]\w+)*", text.casefold())}
    return count


def _unit(size: str) -> str:
    first, second = size.split(" ", 1)
    return first if first == "size" else second


def _written(size: str, random: np.random.Generator) -> str:
    if not size or size.startswith("size "):
        return size
    number, unit = size.split(" ", 1)
    if unit == '"':
        return str(random.choice([f"{number} inch", f'{number}"']))
    if unit == "pack":
        return str(random.choice([f"{number} pack", f"pack of {number}"]))
    return str(random.choice([f"{number} {unit}", f"{number}{unit}"]))
