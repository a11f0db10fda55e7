"""`python -m service` as people and orchestrators run it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from service.__main__ import main

from .serving import bind_free

ROOT = Path(__file__).parents[2]


def free_port():
    listener, port = bind_free()
    listener.close()
    return port


@contextlib.contextmanager
def process(*options, status=200):
    """Starts `python -m service` and waits until it is ready, or answers another status to the question."""
    port = free_port()
    command = [sys.executable, "-m", "service", "--port", str(port), "--log-format", "json", *map(str, options)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as child:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        try:
            wait_for(client, status, child)
            yield child, client
        finally:
            client.close()
            child.kill()


def wait_for(client, status, child=None):
    while True:
        assert child is None or child.poll() is None, child.stderr.read()
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health/ready").status_code == status:
                return
        threading.Event().wait(0.01)


def score(client):
    return client.post("/score", json={"query": "usb", "products": [{"title": "usb cable"}]})


def run(*options, **environment):
    return subprocess.run(
        [sys.executable, "-m", "service", *map(str, options)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_sigterm_with_nothing_in_flight_ends_it_cleanly(tiny_artifact):
    with process("--model-dir", tiny_artifact) as (child, client):
        assert score(client).status_code == 200
        child.send_signal(signal.SIGTERM)
        _, log = child.communicate(timeout=60)
    assert child.returncode == 0, log
    events = [json.loads(line) for line in log.splitlines()]
    own = [event for event in events if event["message"] not in ("request", "requests shed")]
    assert [event["message"] for event in own] == ["listening", "ready", "draining", "stopped"]
    assert own[1]["cold_start_s"] > 0
    assert all(event["request_id"] for event in events if event["message"] == "request")


def test_after_sigterm_probes_see_503_until_the_delay_is_over_or_a_second_signal_comes(tiny_artifact):
    with process("--model-dir", tiny_artifact, "--drain-delay-ms", 600_000) as (child, client):
        child.send_signal(signal.SIGTERM)
        wait_for(client, 503, child)
        assert client.get("/health/live").status_code == 200
        refused = score(client)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        child.send_signal(signal.SIGINT)
        _, log = child.communicate(timeout=60)
    assert child.returncode == 0
    assert "Traceback" not in log


def test_ctrl_c_leaves_no_traceback(tiny_artifact):
    with process("--model-dir", tiny_artifact) as (child, _):
        child.send_signal(signal.SIGINT)
        _, log = child.communicate(timeout=60)
    assert child.returncode == 0
    assert "Traceback" not in log


def test_no_torch_is_loaded_and_memory_stays_small(tiny_artifact):
    with process("--model-dir", tiny_artifact) as (child, client):
        assert score(client).status_code == 200
        served = psutil.Process(child.pid)
        assert not [mapped.path for mapped in served.memory_maps() if "torch" in mapped.path]
        assert served.memory_info().rss < 400e6


def test_onnx_runtime_reports_to_nobody_and_writes_nothing_at_home(tmp_path):
    """Its official builds send usage data, and keep an identifier of the device, unless told otherwise or in CI."""
    home = tmp_path / "home"
    home.mkdir()
    silencing = (
        "CI",
        "TF_BUILD",
        "GITHUB_ACTIONS",
        "ORT_DISABLE_TELEMETRY",
        "ORT_RUNNING_UNIT_TESTS",
        "XDG_CACHE_HOME",
    )
    environment = {name: value for name, value in os.environ.items() if name not in (*silencing, "XDG_CACHE_HOME")}
    command = [sys.executable, "-m", "service", "--model-dir", str(tmp_path / "nowhere")]
    done = subprocess.run(command, cwd=ROOT, env={**environment, "HOME": str(home)}, capture_output=True, timeout=120)
    assert done.returncode == 1
    assert not list(home.rglob("*"))


def test_a_missing_model_is_one_clear_line(tmp_path):
    done = run("--model-dir", tmp_path / "nowhere", "--port", free_port())
    assert done.returncode == 1
    assert done.stderr == f"service: cannot serve: {tmp_path / 'nowhere'}: expected an artifact folder\n"


def test_a_damaged_model_is_one_clear_line(tiny_artifact, tmp_path):
    for each in tiny_artifact.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    (tmp_path / "model-int8.onnx").write_bytes(b"short")
    done = run("--model-dir", tmp_path, "--port", free_port())
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert "model-int8.onnx: expected" in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("file", ["manifest.json", "tokenizer.json"])
def test_a_file_that_cannot_be_read_is_one_clear_line(tiny_artifact, tmp_path, file):
    for each in tiny_artifact.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    (tmp_path / file).unlink()
    # Not by its permissions: the tests may run as root, who reads everything.
    (tmp_path / file).mkdir()
    done = run("--model-dir", tmp_path, "--port", free_port())
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "cannot serve" in line]
    assert file in line
    assert "Traceback" not in done.stderr


def test_sigterm_before_it_serves_ends_it_cleanly(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    command = [sys.executable, "-m", "service", "--model-dir", str(tmp_path), "--port", str(free_port())]
    with (
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as child,
        # Opens once the child has begun to read.
        (tmp_path / "manifest.json").open("w"),
    ):
        child.send_signal(signal.SIGTERM)
        _, log = child.communicate(timeout=60)
    assert (child.returncode, log) == (0, "")


def test_signals_are_heeded_before_the_libraries_load():
    """SIGHUP would end it otherwise; and as the first process of a container it would not hear SIGTERM."""
    look = """
import runpy, signal, sys

class Look:
    def find_spec(self, name, path, target=None):
        if name == "pydantic":
            print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, callable(signal.getsignal(signal.SIGTERM)))
            sys.exit(0)

sys.meta_path.insert(0, Look())
runpy.run_module("service", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "True True\n", done.stderr


def test_a_port_in_use_is_one_clear_line(tiny_artifact):
    listener, port = bind_free()
    with listener:
        done = run("--model-dir", tiny_artifact, "--port", port)
    assert done.returncode == 1
    assert done.stderr == f"service: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_wrong_setting_is_one_clear_line():
    done = run("--max-products", "many")
    assert done.returncode == 2
    assert done.stderr.startswith("service: --max-products: Input should be a valid integer")
    assert done.stderr.count("\n") == 1


def test_a_wrong_environment_variable_is_one_clear_line():
    done = run(SHELFSCORE_DEVICE="tpu")
    assert done.returncode == 2
    assert done.stderr == "service: --device: Input should be 'cpu' or 'cuda'\n"


def test_a_variable_that_no_setting_knows_is_one_line_of_warning_even_where_the_start_fails(tmp_path):
    done = run("--model-dir", tmp_path / "nowhere", SHELFSCORE_MODEL_DIRR="x")
    assert done.returncode == 1
    warning, failure = done.stderr.splitlines()
    assert "WARNING" in warning
    assert "SHELFSCORE_MODEL_DIRR (did you mean SHELFSCORE_MODEL_DIR?)" in warning
    assert "cannot serve" in failure


@pytest.mark.usefixtures("_process_as_it_was")
def test_main_serves_in_this_process_until_a_signal(tiny_artifact, capfd):
    port = free_port()
    statuses = []

    def use_then_stop():
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_for(client, 200)
            statuses.append(score(client).status_code)
        os.kill(os.getpid(), signal.SIGTERM)

    user = threading.Thread(target=use_then_stop)
    user.start()
    code = main(["--model-dir", str(tiny_artifact), "--port", str(port)])
    user.join(60)
    assert (code, statuses) == (0, [200])
    assert "stopped" in capfd.readouterr().err


@pytest.mark.usefixtures("_process_as_it_was")
def test_main_says_in_this_process_why_it_cannot_serve(tiny_artifact, tmp_path, capfd):
    for each in tiny_artifact.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    (tmp_path / "tokenizer.json").write_text("{}")
    assert main(["--model-dir", str(tmp_path), "--port", str(free_port())]) == 1
    assert "tokenizer.json: expected sha256" in capfd.readouterr().err
    assert main(["--model-dir", str(tmp_path / "none")]) == 1
    assert main(["--model-dir", str(tiny_artifact), "--host", "no.such.host.invalid"]) == 1
    assert main(["--model-dir", str(tiny_artifact), "--host", "label" * 20]) == 1
    assert main(["--port", "none"]) == 2
    listener, port = bind_free()
    with listener:
        assert main(["--model-dir", str(tiny_artifact), "--port", str(port)]) == 1


def test_a_log_that_nobody_reads_stops_neither_the_service_nor_its_end(tiny_artifact):
    with process("--model-dir", tiny_artifact, "--log-rate", 1) as (child, client):
        while not dropped_lines(client):
            for _ in range(50):
                assert client.get("/health/live", headers={"x-request-id": "x" * 128}).status_code == 200
        assert score(client).status_code == 200
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0


def dropped_lines(client):
    lines = client.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith("shelfscore_dropped_log_lines ")]
    return float(line.split()[-1])


def test_memory_that_runs_out_takes_readiness_down_and_ends_the_process_cleanly(tiny_artifact):
    options = ["--max-memory-bytes", 10_000_000, "--drain-delay-ms", 600_000]
    with process("--model-dir", tiny_artifact, *options, status=503) as (child, client):
        while "stopping" not in client.get("/health/ready").text:
            threading.Event().wait(0.01)
        assert client.get("/health/live").status_code == 200
        child.send_signal(signal.SIGTERM)
        _, log = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "memory is running out" in log
    assert "Traceback" not in log
