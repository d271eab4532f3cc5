"""Attacks, one file each; what several of them share is in :mod:`attacks.common`."""
