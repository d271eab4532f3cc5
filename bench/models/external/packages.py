"""Packages that only the readers of given models need (extra ``redteam``)."""

from __future__ import annotations

import importlib
from typing import Any

from bench.contract import UserError
from bench.contract.secrets import in_one_line


def package(name: str) -> Any:
    """The module ``name`` of the extra ``redteam``, imported when it is first needed.

    Args:
        name: of a module, such as ``onnxruntime`` or ``skops.io``.

    Raises:
        UserError: it is not installed, or it does not work with what else is installed.
    """
    top = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"To open this model needs the package {top}, which is not installed or misses a part; "
            "install the extra 'redteam': pip install 'inversion-bench[redteam]'."
        ) from None
    except Exception as error:  # such as a torchvision that was built for another torch
        raise UserError(
            f"The package {top} is installed but cannot be imported: {in_one_line(error)}. "
            "Install it again with what it needs: pip install --force-reinstall "
            "'inversion-bench[redteam]'."
        ) from None
