"""Property tests are about values: a busy machine that is slow to draw or to run them is no failure."""

from hypothesis import HealthCheck, settings

settings.register_profile("edgecomp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edgecomp")
