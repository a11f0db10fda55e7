"""What a real Prometheus makes of a running service: its rules, its alerts, the dashboard's queries."""
