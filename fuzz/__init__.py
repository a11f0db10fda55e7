"""Fuzzing: bytes, texts and requests that nobody thought of, against the service's own code and its HTTP contract.

What a target checks stands in a function of bytes that raises AssertionError, so that a test can replay what a run has
found. See docs/fuzzing.md.
"""
