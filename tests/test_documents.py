"""What the README and the walk-through tell a reader to type does what they say."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
START_S = 120
SCORE_TOLERANCE = 0.05  # another processor may round int8 another way


def blocks(document: str, language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)


def type_in(command: str, port: int | None = None) -> str:
    """Runs a block from the repository's root, as written but for the port; returns what it printed."""
    if port is not None:
        command = command.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    shell = ["bash", "-euo", "pipefail", "-c", command]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@contextlib.contextmanager
def served(command: str, log: Path) -> Iterator[int]:
    """Runs a block that starts the service, on a free port, until the end of the `with`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    environment = {**os.environ, "SHELFSCORE_PORT": str(port)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        type_in(
            f"curl -sf --retry {START_S} --retry-delay 1 --retry-all-errors http://127.0.0.1:8080/health/ready", port
        )
        yield port
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)
    assert "Traceback" not in log.read_text()


def test_the_readme_ranks_its_products_as_it_says(tmp_path):
    with served(f"exec {sys.executable} -m service", tmp_path / "log") as port:
        commands = [block for block in blocks("README.md", "sh") if block.startswith("curl")]
        answers = [type_in(command, port) for command in commands]
    printed = blocks("README.md", "json")
    assert len(answers) == len(printed) >= 2
    for answer, expected in zip(answers, printed, strict=True):
        assert_same(json.loads(answer), json.loads(expected))


def assert_same(found: object, expected: object) -> None:
    """Equal, but for numbers, which may differ by what int8 may."""
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=SCORE_TOLERANCE, rel=SCORE_TOLERANCE)
    else:
        assert found == expected


@pytest.mark.timeout(1500)
def test_the_walk_through_from_two_csv_files_to_a_served_model(tmp_path):
    train, evaluate, export, serve, score = blocks("docs/your-own-data.md", "sh")
    output = ROOT / "build" / "example"
    shutil.rmtree(output, ignore_errors=True)
    try:
        type_in(train)
        assert "student (checkpoint)" in type_in(evaluate)
        type_in(export)
        with served(serve, tmp_path / "log") as port:
            answer = json.loads(type_in(score, port))
    finally:
        shutil.rmtree(output, ignore_errors=True)
    lamp, pan = answer["scores"]
    assert lamp > pan
    assert answer["complete"]
