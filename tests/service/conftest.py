import contextlib
import gc
import logging
from pathlib import Path

import pytest

from ..split_model import build_split_artifact
from .serving import Running, running
from .tiny_model import build_tiny_artifact


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    build_tiny_artifact(folder, tmp_path_factory.mktemp("scratch"))
    return folder


@pytest.fixture(scope="session")
def other_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model: its name, weights and calibration differ, and so do its scores."""
    folder = tmp_path_factory.mktemp("artifact") / "other"
    build_tiny_artifact(folder, tmp_path_factory.mktemp("scratch"), name="other", seed=1)
    return folder


@pytest.fixture(scope="session")
def split_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split model."""
    folder = tmp_path_factory.mktemp("split")
    build_split_artifact(folder / "artifact", folder / "parts")
    return folder / "artifact"


@pytest.fixture(scope="session")
def other_split_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one: its states and its scores differ."""
    folder = tmp_path_factory.mktemp("split")
    build_split_artifact(folder / "artifact", folder / "parts", name="other", seed=1)
    return folder / "artifact"


@pytest.fixture
def current(tmp_path, tiny_artifact):
    """A link to the tiny artifact, as `models/current` would be."""
    link = tmp_path / "current"
    link.symlink_to(tiny_artifact)
    return link


@pytest.fixture(scope="session")
def service(tiny_artifact: Path):
    """One server with default limits, shared by the tests that leave it as they find it."""
    with running(tiny_artifact) as service:
        yield service


@pytest.fixture
def serve(tiny_artifact: Path):
    """Starts servers of a test's own: `serve(max_products=3)`."""
    with contextlib.ExitStack() as stack:

        def start(**options) -> Running:
            return stack.enter_context(running(tiny_artifact, **options))

        yield start


@pytest.fixture
def _process_as_it_was():
    """For tests that run the service's main in this process."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    gc.unfreeze()
