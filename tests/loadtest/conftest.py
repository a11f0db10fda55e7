"""Real servers on real sockets, and the command line in processes of its own: Locust patches the one it runs in."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.client import Connection, Endpoint
from loadtest.servers import Server, free_port

ROOT = Path(__file__).parents[2]
FAKE_SERVICE = Path(__file__).with_name("fake_service.py")
# A shell that started the tests in the background lets them ignore Ctrl-C: the command must not inherit that.
COMMAND = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from loadtest.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture
def start_service(tmp_path):
    servers = []

    def start(*flags, wait=True, environment=None):
        # Any: tests that run beside these would meet on a range's first free one.
        port = free_port()
        argv = [sys.executable, str(FAKE_SERVICE), str(port), *map(str, flags)]
        server = Server.start(argv, port, environment or {}, tmp_path / f"{port}.log")
        servers.append(server)
        if wait:
            server.wait_ready("/models", 60)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def ask():
    """GET, parsed."""

    def get(url, path):
        connection = Connection(Endpoint.parse(url), 30)
        try:
            return json.loads(connection.request("GET", path).body)
        finally:
            connection.close()

    return get


@pytest.fixture
def loadtest():
    """Runs `python -m loadtest ...` to its end."""

    def run(*arguments):
        command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.fixture
def start_loadtest():
    """Starts `python -m loadtest ...`, to be interrupted."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
