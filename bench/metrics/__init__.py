"""Metrics and evaluators: how a reconstruction is judged."""
