"""A stand-in that is asked in the place of a model, to see what a campaign would ask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from bench.models.external.opened import Inputs


class Rehearsal:
    """What is asked of the stand-in in this process.

    Attributes:
        width: how many scores a record is answered with.
        asked: digests of the records that were asked.
    """

    def __init__(self) -> None:
        self.width = 2
        self.asked: set[int] = set()
        self._parts: list[pd.DataFrame] = []
        self._model: Any = None

    def begin(self, records: Inputs, labels: npt.NDArray[np.int64], width: int) -> None:
        """Learn from public records, so that searches find what they would find.

        Args:
            records: public ones.
            labels: class of each ``[n]``; of no kind where numbers or items are predicted.
            width: scores of a record.
        """
        self.width, self.asked, self._parts, self._model = width, set(), [], None
        if labels.dtype.kind == "i" and len(np.unique(labels)) > 1:
            self._model = _learner(records).fit(_table(records), labels)

    def scores(self, records: Inputs) -> npt.NDArray[np.float64]:
        """Scores ``[n, width]`` that follow from the record alone."""
        table = _table(records)
        keys = pd.util.hash_pandas_object(table, index=False).to_numpy()
        new = []
        for place, key in enumerate(keys.tolist()):
            if key not in self.asked:
                self.asked.add(key)
                new.append(place)
        self._parts.append(table.iloc[new])
        if self._model is None:
            seeds = (np.random.default_rng(int(key)) for key in keys)
            return np.stack([rng.dirichlet(np.ones(self.width)) for rng in seeds])
        answers = np.zeros((len(table), self.width))
        answers[:, self._model.classes_] = self._model.predict_proba(table)
        return answers

    def rows(self) -> pd.DataFrame:
        """The records that were asked, one row each."""
        return pd.concat(self._parts, ignore_index=True) if self._parts else pd.DataFrame()


def _table(records: Inputs) -> pd.DataFrame:
    if isinstance(records, pd.DataFrame):
        return records
    flat = np.asarray(records).reshape(len(records), -1)
    return pd.DataFrame(flat, columns=[f"x{i}" for i in range(flat.shape[1])])


def _learner(records: Inputs) -> Any:
    trees = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    if not isinstance(records, pd.DataFrame):
        return trees
    texts = [name for name in records if not pd.api.types.is_numeric_dtype(records[name])]
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_pipeline(make_column_transformer((codes, texts), remainder="passthrough"), trees)


REHEARSAL = Rehearsal()


def scores(records: Inputs) -> npt.NDArray[np.float64]:
    """Scores of the stand-in: the function that a rehearsal names as the model."""
    return REHEARSAL.scores(records)
