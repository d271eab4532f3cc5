"""The former name of :mod:`bench.decide.explain`, which the verb ``recommend`` still imports."""

from bench.decide.explain import data, document

__all__ = ["data", "document"]
