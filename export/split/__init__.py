"""Exports a split student: two encoders and the interaction between them, three graphs to a variant.

| file | what |
|---|---|
| checkpoint.py | reads a split student, and builds its graphs |
| product_encoder.py, query_encoder.py | graphs of one side each |
| states.py, interaction.py, interaction_layer.py | the graph of a query and products |
"""
