"""The dashboard: rows.py says what it shows, layout.py makes it JSON, `python -m deploy.grafana` writes it."""
