"""Exports a checkpoint that comes without data of ours: for speed comparisons and untrained models."""

from pathlib import Path

from artifact import InputTemplate, Lineage, Manifest, TemplateField

from .attention import Spelling
from .compile import Say
from .generator import made_up_pairs
from .pipeline import export_student
from .plan import VARIANTS, StudentExport

PAIRS = 1000
DEFAULT_TEMPLATE = InputTemplate(
    fields=(
        TemplateField(name="title", max_tokens=64),
        TemplateField(name="brand", max_tokens=8, omit_if_in="title"),
        TemplateField(name="color", max_tokens=8, omit_if_in="title"),
        TemplateField(name="product_type", max_tokens=8, omit_if_in="title"),
    ),
    max_query_tokens=32,
    max_tokens=112,
)
"""Title first: what every shop has, and what a pair cut short keeps longest."""


def export_plain(
    checkpoint: Path,
    out: Path,
    name: str,
    created: str,
    template: InputTemplate = DEFAULT_TEMPLATE,
    variants: tuple[str, ...] = VARIANTS,
    attention: Spelling | None = None,
    say: Say | None = None,
    pairs: int = PAIRS,
) -> Manifest:
    """Exports with made-up calibration texts, identity calibration and no evaluation.

    Args:
        created: date for the manifest, YYYY-MM-DD.
        pairs: of made-up texts. A few are enough, and minutes quicker, where the artifact is only timed.
        attention: its spelling. None: the faster one here.

    Raises:
        ExportError: as `export_student`.
    """
    plan = StudentExport(
        checkpoint=checkpoint,
        name=name,
        template=template,
        lineage=untrained_lineage(checkpoint.absolute().name, created),
        calibration_pairs=made_up_pairs(pairs),
        calibration_data="made-up pairs",
        variants=variants,
        attention=attention,
    )
    return export_student(plan, out, say)


def untrained_lineage(weights: str, created: str) -> Lineage:
    """Of weights that we know the name of and nothing else.

    Args:
        created: YYYY-MM-DD.
    """
    return Lineage(
        teacher="none",
        student_init=weights,
        loss="none: weights as they came",
        seed=0,
        commit=None,
        created=created,
        data_sets=(),
        durations_s={},
    )
