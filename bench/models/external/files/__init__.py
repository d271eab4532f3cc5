"""Readers of models in files; none of them runs code that a file brings along."""
