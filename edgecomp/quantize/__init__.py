"""Training of small quantised classifiers from tables (extra: train)."""
