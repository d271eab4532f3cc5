"""A Python function that answers records."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.contract import UserError, require
from bench.contract.secrets import in_one_line
from bench.models.external.opened import Answered, Inputs, Opened, unanswered


def open_function(name: str) -> Opened:
    """The function that a dotted name means.

    Args:
        name: ``package.module:function``; its module is imported. The function takes records
            (:data:`bench.models.external.opened.Inputs`) and returns scores ``[n, k]`` or ``[n]``
            as numbers, or labels ``[n]`` as texts or whole numbers.

    Raises:
        UserError: there is no such function.
    """
    module, _, attribute = name.partition(":")
    require(
        bool(module and attribute),
        f"The function '{name}' is not named as package.module:function; do so.",
    )
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"There is no function '{name}' ({in_one_line(error)}); name one that Python can "
            "import from here."
        ) from error
    except Exception as error:
        raise UserError(
            f"The module of the function '{name}' cannot be imported: {type(error).__name__}: "
            f"{in_one_line(error)}"
        ) from error
    require(callable(function), f"'{name}' is no function but {type(function).__name__}.")
    return asked(function, name)


def asked(function: Callable[[Inputs], Any], name: str) -> Opened:
    """A function as a model that can be asked.

    Args:
        function: from records to scores or labels, as :func:`open_function` says.
        name: what messages call it.
    """

    def ask(inputs: Inputs) -> Answered:
        try:
            answers = np.asarray(function(inputs))
        except Exception as error:
            raise unanswered(f"The function '{name}'", error) from None
        require(
            answers.ndim in (1, 2) and len(answers) == len(inputs),
            f"The function '{name}' returned {answers.shape} for {len(inputs)} records; it must "
            "return one row of scores or one label for each.",
        )
        if answers.dtype.kind in "OU" and answers.shape[1:] == (1,):
            answers = answers[:, 0]
        if answers.dtype.kind != "f" and answers.ndim == 1:
            return Answered(labels=answers)
        try:
            return Answered(scores=answers.astype(np.float64).reshape(len(answers), -1))
        except (ValueError, TypeError):
            raise UserError(
                f"The function '{name}' returned rows of what are no numbers; it must return one "
                "row of scores or one label for each record."
            ) from None

    return Opened(ask, facts={"function": name})
