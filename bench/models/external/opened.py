"""What every kind of given model looks like once it is opened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import nn

from bench.contract import UserError
from bench.contract.secrets import in_one_line

_UNLIKE = "Check that they are what the model was trained on, such as the same categories and gaps."
_LOG = logging.getLogger(__name__)

Inputs = npt.NDArray[Any] | pd.DataFrame
"""Records as a model reads them: float32 ``[n, *shape]`` encoded by us, or one row per record with
the table's own columns, where the preprocessing is the model's own: numbers as float64, categories
in the type that pandas gives them, gaps as NaN (:func:`bench.contract.rows.rows_of`)."""


@dataclass(frozen=True)
class Answered:
    """What a model answered, as it answered.

    Attributes:
        scores: numbers ``[n, k]``: probabilities, logits, or one number a record; None: it gives
            none.
        labels: texts or whole numbers ``[n]``; None: it gives none.
        classes: names of the scores' columns, where the answers themselves tell them; then the
            score of a class that an answer leaves out is NaN.
    """

    scores: npt.NDArray[Any] | None = None
    labels: npt.NDArray[Any] | None = None
    classes: tuple[str, ...] = ()

    @property
    def shares(self) -> npt.NDArray[Any]:
        """The scores ``[n, k]`` as shares, of which a class that is left out has none."""
        assert self.scores is not None
        scores = np.asarray(self.scores).reshape(len(self.scores), -1)
        return np.where(np.isnan(scores), 0, scores) if self.classes else scores


@dataclass(frozen=True)
class Opened:
    """A given model that can be asked.

    Attributes:
        ask: answers records in their order. It raises :class:`bench.contract.UserError` where the
            inputs do not fit the model or the answers cannot be read, and says what to do.
        classes: the labels in the order of the scores' columns, as the model itself names them;
            empty: it does not say.
        module: the same as a differentiable module from float32 ``[n, *shape]`` to ``[n, k]``;
            None: it has no gradients.
        facts: plain JSON values for the report, such as names and shapes of inputs and outputs.
    """

    ask: Callable[[Inputs], Answered]
    classes: tuple[str, ...] = ()
    module: nn.Module | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def unanswered(name: str, error: Exception, advice: str = _UNLIKE) -> UserError:
    """What a report says of a model that failed; the log alone says more, such as a value."""
    kind = type(error).__name__
    _LOG.warning("%s failed: %s: %s", name, kind, in_one_line(error))
    return UserError(f"{name} cannot answer these records ({kind}; the log says more). {advice}")
