"""Deadlines, timeouts and queues must not notice that somebody sets the clock."""

import ast
from pathlib import Path

SERVICE = Path(__file__).parents[2] / "service"
WALL_CLOCK = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "time.localtime"}
ALLOWED = {
    # Unix times that metrics, spans, audited pairs and saved references carry; nothing is decided by them.
    ("swap.py", "time.time"),
    ("histogram.py", "time.time"),
    ("otel.py", "time.time"),
    ("audit.py", "time.time"),
    ("files.py", "time.time"),
    ("references.py", "datetime.now"),
}


def calls_of(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{alias.name}" for alias in node.names)


def test_nothing_in_the_service_is_decided_by_the_wall_clock():
    files = sorted(SERVICE.rglob("*.py"))
    assert len(files) > 40
    found = {(file.name, call) for file in files for call in calls_of(file) if call in WALL_CLOCK}
    assert found == ALLOWED
