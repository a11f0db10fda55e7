"""The HTTP service: loads one artifact and scores products under a deadline. `python -m service` starts it.

Imports `artifact` alone of our packages, and never torch.
"""
