"""The offline pipeline: teacher, candidate mining, labelling, student, evaluation.

Run as `python -m training STAGE --config CONFIG --data DATA --run RUN`; see `__main__`. Imports `artifact` alone of our
packages, for the input template and the tokenisation that serving uses too.
"""
