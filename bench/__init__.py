"""Inversion Bench: a distributed benchmark of defenses against model inversion."""

__version__ = "0.1.0"
