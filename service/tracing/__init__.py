"""Traces of scoring requests: W3C Trace Context, which requests are traced, and their spans.

Off unless a setting names where spans go. Only `otel.py` imports OpenTelemetry, and nothing imports that when off.
"""
