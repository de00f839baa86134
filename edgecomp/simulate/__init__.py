"""Compiles and runs what a bundle holds, and returns integer arrays."""

from edgecomp.simulate.hls import Located, Simulated, locate_hls, run_hls, verify_hls

__all__ = ["Located", "Simulated", "locate_hls", "run_hls", "verify_hls"]
