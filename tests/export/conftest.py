"""A tiny checkpoint in a folder, and an export of it."""

from pathlib import Path

import pytest

from export import StudentExport, export_student
from export.generator import made_up_pairs

from .tiny import LINEAGE, TEMPLATE, Figure, silent, write_checkpoint


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def plan(checkpoint_folder: Path) -> StudentExport:
    """An export of that checkpoint, without human targets."""
    pairs = made_up_pairs(140, seed=5)
    return StudentExport(
        checkpoint=checkpoint_folder,
        name="tiny",
        template=TEMPLATE,
        lineage=LINEAGE,
        calibration_pairs=pairs,
        attention="fused",
        evaluate=lambda score: [Figure("nDCG@10", 0.8), Figure("AUC", float(len(score(pairs[:9]))) / 10)],
    )


@pytest.fixture(scope="session")
def exported(plan: StudentExport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that export."""
    out = tmp_path_factory.mktemp("artifacts") / "tiny"
    export_student(plan, out, silent)
    return out
