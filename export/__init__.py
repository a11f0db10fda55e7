"""Student checkpoint -> fused and quantised ONNX variants -> verified artifact.

`export_student` is the whole road; `export_plain` is the same for weights that come without data; `write_peer`
(peers.py) writes what other servers read. Every refusal is an `ExportError`.
"""

from .errors import ExportError
from .evaluation import Estimate, Evaluate, ScoringFunction
from .pipeline import StudentExport, export_student
from .plain import export_plain

__all__ = ["Estimate", "Evaluate", "ExportError", "ScoringFunction", "StudentExport", "export_plain", "export_student"]
