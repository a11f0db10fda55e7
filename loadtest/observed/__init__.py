"""Is what the service tells of itself right, and what does it cost? See docs/metrics.md."""
