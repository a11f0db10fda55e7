"""Faults planted on purpose, for tests of the service and of the gates that watch it. Never for production.

The factory comes here only where the setting `planted_faults` names some: without it, nothing of this is in a
request's way.
"""
