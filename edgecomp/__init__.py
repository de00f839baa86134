"""edgecomp: trained, quantised classifiers into circuits and code that compute the very same integers."""

__version__ = "0.1.0"
