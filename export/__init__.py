"""Student checkpoint -> fused and quantised ONNX variants -> verified artifact.

`export_student` is the whole road; `export_from_hf` is the same for a cross-encoder from elsewhere, `export_plain` for
weights that come without data; `write_peer` (peers.py) writes what other servers read. Every refusal is an
`ExportError`.
"""

from .errors import ExportError
from .evaluation import Estimate, Evaluate, ScoringFunction
from .from_hf import HubExport, export_from_hf
from .pipeline import export_student
from .plain import export_plain
from .plan import StudentExport

__all__ = [
    "Estimate",
    "Evaluate",
    "ExportError",
    "HubExport",
    "ScoringFunction",
    "StudentExport",
    "export_from_hf",
    "export_plain",
    "export_student",
]
