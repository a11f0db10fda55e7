"""The committed default artifact as it is served: `python -m service` in a process of its own, over HTTP."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import psutil
import pytest

from artifact import load_artifact

ROOT = Path(__file__).parents[1]
MODEL_DIR = ROOT / "models" / "default"
QUERY = "usb c laptop charger"
PRODUCT = {"title": "65W USB-C wall charger for laptops and phones", "brand": "Anker", "color": "black"}
LONGEST = {"title": "heavy duty extension lead with surge protection " * 80, "brand": "b" * 400, "color": "green " * 80}
WORDS = (
    *("usb", "charger", "laptop", "case", "65", "inch", "wireless", "mouse", "garden", "hose", "red", "shoe", "phone"),
    *(
        "samsung",
        "adapter",
        "hdmi",
        "cable",
        "kids",
        "winter",
        "jacket",
        "4k",
        "steel",
        "bottle",
        "für",
        "naïve",
        "電源",
    ),
)
MAX_RESIDENT_BYTES = 400e6
MAX_ARTIFACT_BYTES = 25e6


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    log = tmp_path_factory.mktemp("served") / "log.jsonl"
    # No test here is about speed: the deadline has room for a slow machine.
    options = ["--model-dir", str(MODEL_DIR), "--port", "0", "--max-timeout-ms", "120000", "--log-format", "json"]
    with (
        log.open("w") as stderr,
        subprocess.Popen([sys.executable, "-m", "service", *options], cwd=ROOT, stderr=stderr) as child,
    ):
        try:
            while "ready" not in (events := _events(log)):
                assert child.poll() is None, log.read_text()
                threading.Event().wait(0.02)
            base_url = f"http://127.0.0.1:{events['listening']['port']}"
            with httpx.Client(base_url=base_url, timeout=150, trust_env=False) as client:
                yield client, psutil.Process(child.pid)
        finally:
            child.kill()


def test_the_artifact_verifies_and_is_small():
    artifact = load_artifact(MODEL_DIR)
    assert artifact.manifest.name == "default"
    assert sum(file.stat().st_size for file in MODEL_DIR.rglob("*") if file.is_file()) < MAX_ARTIFACT_BYTES


def test_a_pair_has_the_same_logit_alone_in_a_thousand_and_beside_the_longest_product(served):
    client, _ = served
    random = Random(1)
    others = [_product(random) for _ in range(999)]
    (alone,) = _logits(client, [PRODUCT])
    # At both ends and inside, among short and long neighbours.
    for position in (0, 499, 999):
        assert _logits(client, [*others[:position], PRODUCT, *others[position:]])[position] == pytest.approx(
            alone, abs=1e-4, rel=0
        )
    for crowd, position in (([PRODUCT, LONGEST], 0), ([LONGEST] * 7 + [PRODUCT], 7)):
        assert _logits(client, crowd)[position] == pytest.approx(alone, abs=1e-4, rel=0)


def test_a_thousand_requests_of_all_sizes_leave_it_small_and_without_torch(served):
    client, process = served
    random = Random(2)
    for number in range(1000):
        count = 1000 if number % 250 == 249 else random.choice((1, 1, 2, 3, 5, 8, 16))
        assert None not in _logits(client, [_product(random) for _ in range(count)], " ".join(random.sample(WORDS, 3)))
    assert process.memory_info().rss < MAX_RESIDENT_BYTES
    mapped = {part for file in process.memory_maps() for part in Path(file.path).parts}
    assert not mapped & {"torch", "transformers"}
    assert "onnxruntime" in mapped


def test_the_service_imports_neither_torch_nor_transformers():
    """Modules of plain Python leave no mapped file, so the interpreter is asked."""
    program = (
        "import sys; from pathlib import Path\n"
        "import service.__main__, service.server; from service.app import create_app\n"
        "from service.metrics import Metrics; from service.model import load_model\n"
        "from service.settings import Settings\n"
        "settings = Settings(model_dir=Path(sys.argv[1])); create_app(settings); load_model(settings, Metrics())\n"
        "print(sorted({'torch', 'transformers', 'onnx', 'training', 'export'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(MODEL_DIR)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def _events(log: Path) -> dict[str, dict[str, Any]]:
    lines = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {event["message"]: event for event in map(json.loads, lines)}


def _logits(client: httpx.Client, products: list[dict[str, str]], query: str = QUERY) -> list[float | None]:
    response = client.post("/score", json={"query": query, "products": products})
    assert response.status_code == 200, response.text
    logits: list[float | None] = response.json()["logits"]
    assert len(logits) == len(products)
    return logits


def _product(random: Random) -> dict[str, str]:
    title = " ".join(random.choices(WORDS, k=random.choice((1, 4, 8, 15, 60)))) + f" {random.randrange(10**6)}"
    return {"title": title} if random.random() < 0.3 else {"title": title, "brand": random.choice(WORDS)}
