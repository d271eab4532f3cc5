"""Architectures and the one training loop."""
