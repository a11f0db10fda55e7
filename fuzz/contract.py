"""The running service against its own OpenAPI document: schemathesis with every check."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from .guided import ROOT

CONFIG = ROOT / "fuzz" / "schemathesis.toml"
MODEL = ROOT / "models" / "default"
KEY = "fuzzing-key"
START_S = 120
STOP_S = 30
MOST_EXAMPLES = 1000


def run_contract(
    *,
    seed: int,
    seconds: int | None,
    found: Path,
    url: str | None = None,
    key: str | None = None,
    examples: int = MOST_EXAMPLES,
) -> int:
    """Tests a service, or models/default behind a key, for so many seconds. Returns 0 where all was well, else 1.

    Args:
        seed: of what is generated.
        seconds: about how long; None for as long as the examples take, the same ones each time.
        found: the folder for the report.
        url: of a running service; without it, one is started.
        key: of that service, where it needs one.
        examples: most of them for each route.
    """
    if url is not None:
        return _run(url, key, seed=seed, seconds=seconds, found=found, examples=examples)
    with served(found / "service.log") as started:
        status = _run(started, KEY, seed=seed, seconds=seconds, found=found, examples=examples)
    if "Traceback" in (found / "service.log").read_text():
        print(f"the service logged an exception: {found / 'service.log'}")
        return 1
    return status


def _run(url: str, key: str | None, *, seed: int, seconds: int | None, found: Path, examples: int) -> int:
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{url}/openapi.json"]
    command += ["--checks=all", "--mode=all", "--phases=examples,coverage,fuzzing", "--continue-on-failure"]
    command += [f"--max-examples={examples}", f"--seed={seed}", "--request-timeout=60"]
    command += (
        ["--generation-deterministic"] if seconds is None else ["--generation-database=none", f"--max-time={seconds}"]
    )
    command += ["--suppress-health-check=all", "--no-color", f"--report-junit-path={found / 'contract.xml'}"]
    if key is not None:
        command += ["--header", f"Authorization: Bearer {key}"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "fuzz.hooks", "PYTHONPATH": str(ROOT)}
    status = subprocess.run(command, cwd=found, env=environment, check=False).returncode
    if not _scores(url, key):
        print("the service does not score afterwards")
        return 1
    return 1 if status else 0


def _scores(url: str, key: str | None) -> bool:
    """Whether it is alive, ready, and scores the request of its own document."""
    document = json.loads(_get(f"{url}/openapi.json"))
    example = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["example"]
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    body = json.dumps({**example, "timeout_ms": None}).encode()
    try:
        _get(f"{url}/health/live")
        _get(f"{url}/health/ready")
        answer = json.loads(_get(urllib.request.Request(f"{url}/score", body, headers)))
    except OSError as error:
        print(error)
        return False
    return bool(answer["complete"])


@contextlib.contextmanager
def served(log: Path) -> Iterator[str]:
    """The default model behind a key, on a free port of this machine alone, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    options = ["--port", str(port), "--model-dir", str(MODEL), "--max-timeout-ms", "60000"]
    environment = {**os.environ, "SHELFSCORE_API_KEYS": KEY, "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", *options], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        _wait_until_ready(url, process)
        yield url
        if process.poll() is not None:
            raise RuntimeError(f"the service has ended: {log}")
    finally:
        process.terminate()
        process.wait(STOP_S)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            _get(f"{url}/health/ready")
            return
        time.sleep(0.2)
    raise RuntimeError("the service did not become ready")


def _get(request: str | urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=60) as answer:
        body: bytes = answer.read()
        return body
