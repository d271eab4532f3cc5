"""The diabetes study of Efron et al. 2004, as embedded in scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Le
from sklearn.datasets import load_diabetes

from bench.contract import Modality, Splits, Task
from bench.data import common, frames, tables
from bench.data.loader import Shared

NUMERIC = ("age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
SEX = ("sex 1", "sex 2")
"""The study codes sex as 1 and 2 and its documentation does not say which is which."""

SECRETS = {"sex": "sex", "bmi": "body-mass index", "bp": "blood pressure"}
"""Sensitive attributes in words."""


@dataclass(frozen=True)
class Diabetes(Shared):
    """442 patients, ten baseline measurements, disease progression one year on.

    The target is progression as a class, so that defenses which release labels or scores apply.
    The bands are cut at quantiles of the *public* split: a cut at the members' own median would
    be one more statistic released about them. Sex is the sensitive attribute, the shape of
    Fredrikson et al. 2014 on an open data set (PROTOCOL 1.3, S3); body-mass index and blood
    pressure are sensitive numbers.

    Attributes:
        sensitive: ``sex``, ``bmi`` (kg/m^2) or ``bp`` (mean arterial pressure).
        bands: number of progression classes; 2 is below/above the public median. None:
            the target predicts progression itself, a number.
    """

    sensitive: Literal["sex", "bmi", "bp"] = "sex"
    bands: Annotated[int, Ge(2), Le(10)] | None = 2
    sha256: str | None = "43a28c7d3cf1c4cbb9cb67486e89ac06e370b76abd43210371b235e2ee2bc3b9"

    sector: ClassVar[str] = "medical"
    modality: ClassVar[Modality] = "table"
    goals: ClassVar[tuple[str, ...]] = tables.GOALS
    utility_metric: ClassVar[str] = "balanced_accuracy"
    embedded: ClassVar[bool] = True
    name = "diabetes"
    source = (
        "Efron, Hastie, Johnstone, Tibshirani, Least Angle Regression, 2004, as embedded in "
        "scikit-learn (load_diabetes)"
    )
    terms = "distributed with scikit-learn (BSD-3-Clause)"

    @property
    def secret(self) -> str:  # type: ignore[override]
        """Of the attribute that was chosen."""
        return f"a patient's {SECRETS[self.sensitive]}"

    def _paths(self) -> Sequence[str]:
        return ()

    @property
    def n_classes(self) -> int:
        """``bands``; 0 where a number is predicted."""
        return self.bands or 0

    @property
    def tasks(self) -> tuple[Task, ...]:  # type: ignore[override]
        """Regression without bands."""
        return ("classification",) if self.bands else ("regression",)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Split by ``seed``, stratified by sex and quartile of progression; see the base class."""
        bunch = load_diabetes(as_frame=True, scaled=False)
        frame, progression = bunch.data, bunch.target.to_numpy(np.float64)
        sha256 = common.sha256_of_arrays(frame.to_numpy(np.float64), progression)
        self._check_sha256("scikit-learn's diabetes array", sha256)

        sex = frame["sex"].to_numpy(np.int64) - 1
        rows = self._stratified(sex * 4 + frames.quartiles(bunch.target), seed)

        frame = frame.assign(sex=np.asarray(SEX)[sex])
        encoded = tables.encode(
            "diabetes",
            frame,
            sensitive=self.sensitive,
            public=rows[2],
            numeric=NUMERIC,
            categories={"sex": SEX},
        )
        bands, outcome = self.bands or 1, None
        cuts = np.quantile(progression[rows[2]], np.arange(1, bands) / bands)
        y = torch.as_tensor(np.digitize(progression, cuts, right=True))
        if self.bands is None:
            y, outcome = tables.outcome("diabetes", "progression", "points", progression, rows[2])
        card = self._card(
            name="diabetes" if self.bands else "diabetes_progression",
            shape=(),
            class_names=tuple(
                f"progression band {i + 1} of {bands}" for i in range(self.n_classes)
            ),
            outcome=outcome,
        )
        return tables.finish(
            card,
            encoded,
            y,
            torch.arange(len(frame)),
            rows,
            sha256=sha256,
            split_protocol="records, stratified by sex and progression quartile: " + self._shares,
            public_cuts=[float(cut) for cut in cuts],
        )
