"""Reads what `python -m training.experiments variants` found, times the students, writes table and picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..compile import Say
from .picture import draw_front
from .times import PRODUCT_TOKENS, PRODUCTS, QUERY_TOKENS, Times, measure_times
from .world import TEACHER, World


def make_front(worlds: Mapping[str, Path], out: Path, picture: Path, rounds: int, say: Say) -> str:
    """Times the students of the first world, and sets what all worlds found of them beside it.

    Args:
        worlds: folders of `python -m training.experiments variants`, by a name for people.
        out: gets the artifacts that are timed.
        picture: SVG file to write.

    Returns:
        A Markdown table.

    Raises:
        ExportError: a folder has no results, or a student cannot be exported.
    """
    read = [World.read(name, folder) for name, folder in worlds.items()]
    names = [row["name"] for row in read[0].results["variants"]]
    students = {name: read[0].folder / "students" / name.replace(" ", "-") for name in names}
    times = measure_times(students, out, rounds, say)
    draw_front(read, times, picture)
    return as_table(read, times)


def as_table(worlds: Sequence[World], times: Mapping[str, Times]) -> str:
    """One row a student, the fastest online first, then the teacher."""
    columns = [(world, metric) for world in worlds for metric in world.figures]
    lines = [
        f"{PRODUCTS} products of {PRODUCT_TOKENS} tokens, a query of {QUERY_TOKENS}, int8, the graphs alone on all "
        "lanes: median of the rounds (5 % - 95 %). Quality: value, and in brackets the paired difference from "
        f"{worlds[0].reference} with its 95 % interval.",
        "",
        "| student | online ms | cold ms | bytes a product | "
        + " | ".join(f"{world.name}: {metric['data']} {metric['name']}" for world, metric in columns)
        + " |",
        "|---" * (4 + len(columns)) + "|",
    ]
    for name in sorted(times, key=lambda each: float(np.median(times[each].online))):
        taken = times[name]
        cells = [_ms(taken.online), _ms(taken.cold), f"{taken.state_bytes:,}" if taken.state_bytes else ""]
        cells += [_quality(metric, name, world.reference) for world, metric in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    cells = [_quality(metric, TEACHER, world.reference) for world, metric in columns]
    lines.append(f"| {TEACHER} | | | | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _ms(seconds: Sequence[float]) -> str:
    low, median, high = np.percentile(seconds, (5, 50, 95)) * 1e3
    return f"{median:.1f} ({low:.1f} - {high:.1f})"


def _quality(metric: dict[str, Any], name: str, reference: str) -> str:
    model = metric["models"].get(name)
    if model is None:
        return ""
    difference = model["against"].get(reference)
    if difference is None:
        return f"{model['value']:.3f}"
    return f"{model['value']:.3f} ({difference['value']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}])"
