"""The report of a build: one object, and its JSON and text forms."""

from edgecomp.report.figures import Figure, Source

__all__ = ["Figure", "Source"]
