"""Comparisons in one run: our service beside other servers, beside bare inference, beside itself without caches."""
