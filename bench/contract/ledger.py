"""What a differentially private training spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PrivacyLedger:
    """What a differentially private training spent (PROTOCOL 4.1).

    Attributes:
        epsilon: the reported budget, by ``accountant``.
        delta: at most 1 / (10 n); 0 of a pure guarantee.
        accountant: ``prv``; ``rdp`` of votes on labels; or ``functional_mechanism``, whose Laplace
            noise needs none.
        epsilon_rdp: the same run's budget by the RDP accountant; of a pure guarantee ``epsilon``.
        unit: ``record`` or ``person``: whose presence is protected.
        neighbour_relation: ``add_remove``, or ``replace_one``: one record has another value.
        sampling: the scheme actually executed: ``poisson`` or ``full_batch``.
        sample_rate: from the engine's own history, not from the configuration.
        steps: noisy steps counted for the released weights, empty batches included.
        noise_multiplier: sigma, or the scale of Laplace noise, in units of ``clip_norm``.
        clip_norm: C, the L2 sensitivity; of Laplace noise the L1 sensitivity.
        expected_batch: sample_rate times the number of units.
        empty_batches: Poisson batches of nobody (noise-only steps).
        epsilon_total_basis: how tuning was accounted.
        epsilon_total: the budget with tuning, by that basis; None where it was not accounted.
        advantage: the greatest TPR - FPR of any test whether one unit was in the training, in
            [0, 1]; None where it was not worked out.
        rng: ``seeded (not for release)``.
        libraries: library name to version.
    """

    epsilon: float
    delta: float
    accountant: str
    epsilon_rdp: float
    unit: str
    neighbour_relation: str
    sampling: str
    sample_rate: float
    steps: int
    noise_multiplier: float
    clip_norm: float
    expected_batch: float
    empty_batches: int
    epsilon_total_basis: str
    rng: str
    libraries: Mapping[str, str]
    epsilon_total: float | None = None
    advantage: float | None = None
