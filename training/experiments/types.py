"""The product types of the controlled world (`types.toml`): which type a product of a catalogue is, and what shoppers
call it."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ProductType:
    """A product type; `types.toml` says what each part means."""

    name: str
    words: tuple[str, ...]
    title: re.Pattern[str]
    maker: tuple[str, ...]
    attributes: tuple[Mapping[str, str], ...]


@cache
def product_types() -> tuple[ProductType, ...]:
    """All types, in the order in which their rules are tried."""
    rows: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "types.toml").read_text("utf-8"))["type"]
    return tuple(
        ProductType(
            row["name"],
            tuple(row["words"]),
            re.compile(row["title"] if isinstance(row["title"], str) else "|".join(row["title"])),
            tuple(row.get("maker", ())),
            tuple(row.get("attributes", ())),
        )
        for row in rows
    )


def type_of(title: str, attributes: Mapping[str, str]) -> ProductType | None:
    """The type of a product: what its maker calls it, else what its title shows, else what its attributes imply.

    Returns:
        None where nothing tells.
    """
    named = attributes.get("product_type", "").lower()
    lowered = title.lower()
    for kind in product_types():
        if named and named in kind.maker:
            return kind
    for kind in product_types():
        if kind.title.search(lowered):
            return kind
    for kind in product_types():
        for wanted in kind.attributes:
            if all(name in attributes and attributes[name].startswith(start) for name, start in wanted.items()):
                return kind
    return None
