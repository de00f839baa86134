"""Random quantised models to judge the compiler by: Brevitas networks and hand-made ONNX graphs.

`make(seed)` is deterministic: the same seed gives the same bytes and vectors. Even seeds are hand-made graphs
(no torch needed), odd seeds are Brevitas exports.
"""

from tests.generator.handmade import make_handmade
from tests.generator.model import GeneratedModel, QuantiserCount

__all__ = ["GeneratedModel", "QuantiserCount", "make", "make_handmade"]


def make(seed: int, vectors: int = 64) -> GeneratedModel:
    """The random model of a seed, with `vectors` input vectors."""
    if seed % 2 == 0:
        return make_handmade(seed, vectors)
    from tests.generator.brevitas_source import make_brevitas

    return make_brevitas(seed, vectors)
