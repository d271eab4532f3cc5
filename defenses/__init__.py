"""Defenses, one file each; what several of them share stands in :mod:`defenses.common`."""
