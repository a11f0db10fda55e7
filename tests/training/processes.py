"""Starts two training processes as a user does, by `accelerate launch`."""

import os
import socket
import subprocess
import sys
from pathlib import Path


def launch_two(script: Path, arguments: list[str], *options: str) -> None:
    """Runs a script in two processes on CPUs and asserts that it ends well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1"]
    command += ["--main_process_port", str(port), "--mixed_precision", "no", "--dynamo_backend", "no", *options]
    command += [str(script), *arguments]
    paths = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
