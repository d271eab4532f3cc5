"""Thresholds without benign accounts: who probes is flagged, however many, and others seldom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.api import audit
from bench.contract import UserError
from bench.engine.audit.calibrate import ordinary, robust_limit

Draw = Callable[[np.random.Generator, int], np.ndarray]


def rates(name: str, share: float, benign: Draw, probing: Draw, n: int = 100) -> tuple[float, ...]:
    """Share of benign accounts and of probers flagged at a rate of 1 %, over 40 logs."""
    rng = np.random.default_rng(0)
    false, caught = [], []
    for _ in range(40):
        probers = round(share * n)
        peaks = np.concatenate([probing(rng, probers), benign(rng, n - probers)])
        limit = robust_limit(name, torch.tensor(peaks), 0.01)
        caught.append((peaks[:probers] > limit).mean() if probers else 1.0)
        false.append((peaks[probers:] > limit).mean())
    return float(np.mean(false)), float(np.mean(caught))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.4])
@pytest.mark.parametrize(
    ("name", "benign", "probing"),
    [
        (
            "volume",
            lambda r, n: np.exp(r.normal(4, 0.5, n)).round() + 1,
            lambda r, n: 3000 + 0 * r.random(n),
        ),
        ("ood", lambda r, n: r.gamma(9, 0.2, n), lambda r, n: r.normal(30, 3, n)),
        (
            "stateful",
            lambda r, n: -np.exp(r.normal(0, 0.3, n)),
            lambda r, n: -np.exp(r.normal(-4, 0.3, n)),
        ),
        ("concentration", lambda r, n: r.binomial(50, 0.4, n) / 50, lambda r, n: np.ones(n)),
    ],
)
def test_probers_hide_neither_themselves_nor_each_other(
    name: str, share: float, benign: Draw, probing: Draw
) -> None:
    false, caught = rates(name, share, benign, probing)
    assert false < 0.03 and caught > 0.99


def test_many_alike_are_not_flagged_for_chance() -> None:
    alike = torch.full((50,), 80.0)
    assert 85 < robust_limit("volume", alike, 0.01) < 120
    assert robust_limit("ood", alike, 0.01) > 85


def test_what_most_ask_is_ordinary() -> None:
    torch.manual_seed(0)
    account = torch.arange(20).repeat_interleave(10)
    x = torch.randn(200, 3) + 20.0 * (account < 9).double().unsqueeze(1)
    assert set(ordinary(x, account).tolist()) <= set(range(9, 20))


def write(tmp_path: Path, benign: int = 60, extra: str = "") -> Path:
    """A prober asks 3,000 times from the start; benign accounts come later and ask 80 times."""
    rng = np.random.default_rng(1)
    parts = [pd.DataFrame({"time": np.arange(3000.0), "account": "007"})]
    parts += [
        pd.DataFrame({"time": 1000.0 + 50 * i + np.arange(80), "account": f"u{i}"})
        for i in range(benign)
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["label"] = rng.choice(["None", "NA", "yes"], len(frame))
    for j in range(3):
        frame[f"f{j}"] = rng.normal(size=len(frame)).round(4)
    path = tmp_path / f"log{extra}.csv"
    frame.to_csv(path, index=False)
    return path


def test_who_asks_much_from_the_start_is_flagged(tmp_path: Path) -> None:
    log = write(tmp_path)
    result = audit(log, detectors=["volume", "concentration"])
    assert result.flagged == ("007",) and result.audited == 61
    flag = result.flags[0]
    assert (flag.detector, flag.queries, flag.first, flag.last) == ("volume", 3000, "0", "2999")
    assert flag.limit < flag.statistic == flag.query < 150
    assert result.document()["flags"][0]["account"] == "007"


def test_columns_of_benign_logs_are_matched_by_name(tmp_path: Path) -> None:
    log, known = write(tmp_path), write(tmp_path, extra="-known")
    frame = pd.read_csv(known, dtype=str, keep_default_na=False)
    frame = frame[frame["account"] != "007"]
    frame.to_csv(known, index=False)
    names = ["volume", "ood", "stateful"]
    wanted = audit(log, known, names)
    assert wanted.flagged[0] == "007" and wanted.benign == str(known)
    mixed = frame[frame.columns[::-1]].assign(more=1.5, words="x")
    mixed.to_csv(known, index=False)
    result = audit(log, known, names)
    assert result.flags == wanted.flags
    assert any("more (only in" in note for note in result.notes)
    frame.drop(columns=["f0", "f1", "f2"]).to_csv(known, index=False)
    with pytest.raises(UserError, match=r"'ood' cannot run: .*no columns of records"):
        audit(log, known, names)
    assert audit(log, known).detectors[2].why  # without a name it is left out, and said


def test_no_record_in_common_is_said(tmp_path: Path) -> None:
    log, known = write(tmp_path), write(tmp_path, extra="-known")
    frame = pd.read_csv(known, dtype=str, keep_default_na=False)
    frame.rename(columns={f"f{j}": f"g{j}" for j in range(3)}).to_csv(known, index=False)
    result = audit(log, known)
    why = {part.detector: part.why for part in result.detectors}
    assert why["ood"] == "the logs have no column of records in common" and not why["volume"]
