"""Servers side by side under open-loop load, in turns: rate against p99 of each. See docs/capacity.md."""
