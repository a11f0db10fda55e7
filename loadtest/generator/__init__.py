"""Sends requests when they are due, from a process of its own, and keeps what came of each."""
