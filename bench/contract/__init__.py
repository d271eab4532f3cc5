"""The ground floor: the words and interfaces that explain every other room.

What it offers stands in ``__init__.pyi`` and is loaded when it is first used, so that reading a
record does not load PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
