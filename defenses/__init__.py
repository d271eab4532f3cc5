"""Defenses, one file each; what several of them share is in :mod:`defenses.common`."""
