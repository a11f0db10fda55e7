"""Writes dashboard.json: `python -m deploy.grafana`."""

from pathlib import Path

from .layout import as_text

if __name__ == "__main__":
    Path(__file__).with_name("dashboard.json").write_text(as_text(), encoding="utf-8")
