"""edgecomp: trained, quantised classifiers into circuits and code that compute the very same integers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecomp.api import BuildResult, Network, build, read

__version__ = "0.1.0"
__all__ = ["BuildResult", "Network", "__version__", "build", "read"]


def __getattr__(name: str) -> Any:
    """The Python interface, imported when first used: the command line starts without it."""
    if name not in __all__:
        raise AttributeError(f"module 'edgecomp' has no attribute {name!r}")
    from edgecomp import api

    return getattr(api, name)
