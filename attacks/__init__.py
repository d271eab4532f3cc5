"""Attacks, one file each; files named for what attacks share are helpers."""
