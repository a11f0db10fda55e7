"""The dashboard: rows.py says what it shows, layout.py makes Grafana JSON of it, `python -m deploy.grafana` writes it."""
