"""Compiles and runs what a bundle holds, and returns integer arrays."""

from edgecomp.simulate.hls import Located, Simulated, locate_hls, run_hls, verify_hls
from edgecomp.simulate.script import verify_script

__all__ = ["Located", "Simulated", "locate_hls", "run_hls", "verify_hls", "verify_script"]
