"""Approximations of classifiers: declared, measured on selection data, and searched for."""
