"""Packages that only the readers of given models need (extra ``redteam``)."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any

import torch

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
        if top == "onnx2torch":
            _make_torchvision_importable()
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"This model needs the package {top}, which is not installed or misses a part; "
            "install the extra 'redteam': pip install 'inversion-bench[redteam]'."
        ) from None
    except Exception as error:  # such as a torchvision that was built for another torch
        raise UserError(
            f"The package {top} is installed but cannot be imported: {in_one_line(error)}. "
            "Install it again with what it needs: pip install --force-reinstall "
            "'inversion-bench[redteam]'."
        ) from None


_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def _make_torchvision_importable() -> Any:
    """Declare the operators without which a torchvision of another build cannot be imported.

    The usual torchvision was built for the CUDA build of torch; beside a CPU build its own
    operators are not loaded, and then its import fails. onnx2torch imports it for the operators on
    boxes in pictures alone, which no model here answers with.

    Returns:
        What declares the operators for as long as it is kept; None: it was not needed.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for part in [part for part in sys.modules if part.partition(".")[0] == "torchvision"]:
            del sys.modules[part]
        library: Any = torch.library
        declared = library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):  # some versions have the first alone; more does no harm
            declared.define(f"{operator}{_BOXES}")
        return declared
    return None
