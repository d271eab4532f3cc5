"""Data sets: loaders that check what they load."""
