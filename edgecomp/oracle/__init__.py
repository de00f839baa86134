"""The oracle: executes a source graph (QONNX or QDQ) by the published definitions of its operators.

It shares no code with the front end that lowers the same file, so that the two check each other.
"""

from edgecomp.oracle.ort import run_onnxruntime
from edgecomp.oracle.rounding import Grid, Rounding
from edgecomp.oracle.trace import Trace, exact_code, exact_codes, run

__all__ = ["Grid", "Rounding", "Trace", "exact_code", "exact_codes", "run", "run_onnxruntime"]
