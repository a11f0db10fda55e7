"""Exports a split student: two encoders and the interaction between them, three graphs to a variant.

| file | what |
|---|---|
| checkpoint.py, shape.py, from_hf.py | a split student, its sizes, or an untrained one of a sentence encoder |
| encoders.py | the graphs of either side |
| interaction.py, attention.py, states.py, names.py | the graph of a query and products |
| runtime.py | runs the three, over pairs of texts in bulk |
| compile.py, parity.py, pipeline.py | checked variants, the checks, the whole export |
| latency.py, speed.py | how long graphs take |
"""
