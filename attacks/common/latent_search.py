"""Search in a latent by queries alone: up the released scores, or away from a label's boundary."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.latent import Latent, ask, best_restart, last_fifth, objective, within
from bench.contract import Exposure, Reconstruction


@dataclass(frozen=True)
class SearchResult:
    """Where a search ended.

    Attributes:
        z: latents ``[n, k]``.
        quality: ``[n]``, the attacker-visible signal restarts are chosen by; larger is better.
        reasons: why each row stopped.
        trace: ``[steps]``, the mean signal as it went.
        radius: ``[n]``, last radius of the probes.
    """

    z: Tensor
    quality: Tensor
    reasons: list[str]
    trace: Tensor
    radius: Tensor


def nothing(bank: Tensor, rows: int) -> SearchResult:
    """The latent's centre for every row: the budget pays for no query."""
    zero = bank.new_zeros(rows)
    return SearchResult(
        bank.new_zeros(rows, bank.shape[1]), zero, ["budget"] * rows, zero[:1], zero
    )


def directions(n: int, count: int, size: int, rng: torch.Generator) -> Tensor:
    """Unit vectors ``[n, count, size]``, orthogonal within a row where ``count <= size``.

    Orthogonal probes never measure the same direction twice (Choromanski et al., ICML 2018).
    """
    u = torch.randn(n, size, count, generator=rng, device=rng.device)
    probes: Tensor
    if 2 * count <= size:
        # Few Gaussian vectors are well conditioned: Gram and Cholesky instead of Householder.
        root = torch.linalg.cholesky(u.transpose(1, 2) @ u)
        probes = torch.linalg.solve_triangular(root, u.transpose(1, 2), upper=False)
        return probes
    probes = torch.linalg.qr(u).Q if count <= size else u / u.norm(dim=1, keepdim=True)
    return probes.transpose(1, 2)


def repeated(interface: Callable[[Tensor], Tensor], repeats: int) -> Callable[[Tensor], Tensor]:
    """``exposure.scores`` or ``.labels`` asked ``repeats`` times: the mean, or labels' mode.

    What a randomised release hides in one answer, it gives away in many (PROTOCOL 3.5). Every
    answer is a query.
    """
    if repeats == 1:
        return interface

    def answer(x: Tensor) -> Tensor:
        answers = torch.stack([interface(x) for _ in range(repeats)])
        return answers.mean(0) if answers.is_floating_point() else torch.mode(answers, 0).values

    return answer


def released_margin(seen: Tensor) -> tuple[Callable[[Tensor], Tensor], float]:
    """The margin of log scores as a signal, and its largest possible value.

    A score that was cut or rounded to 0 counts as half the smallest positive score in ``seen``
    ``[m, n_classes]``. The signal maps scores ``[n, n_classes]`` to ``[n, n_classes]``.
    """
    positive = seen[seen > 0]
    floor = min(max(float(positive.min()) / 2, 1e-12), 0.05) if len(positive) else 0.05
    return lambda scores: -objective(scores.clamp(min=floor).log(), "margin"), -math.log(floor)


def best_starts(bank: Tensor, start: Tensor, restarts: int) -> tuple[Tensor, Tensor]:
    """The best candidates of every class, restart by restart.

    Args:
        bank: candidates ``[m, k]``.
        start: their signal for each class ``[m, t]``.
        restarts: starts per class; where m is smaller, candidates serve again.

    Returns:
        Latents ``[restarts * t, k]`` and their signal ``[restarts * t]``.
    """
    best = start.topk(min(restarts, len(start)), dim=0).indices
    best = best[torch.arange(restarts, device=best.device) % len(best)]
    return bank[best].flatten(0, 1).clone(), start.gather(0, best).flatten()


def first_look(
    interface: Callable[[Tensor], Tensor],
    latent: Latent,
    bank: Tensor,
    classes: Tensor,
    restarts: int,
) -> tuple[Callable[[Tensor], Tensor], float, Tensor, Tensor, Tensor]:
    """Ask for the scores of every candidate start and keep the best ones of each class.

    Args:
        interface: released scores of images.
        latent: of the candidates.
        bank: candidates ``[m, k]``, at least one.
        classes: int64 ``[t]``.
        restarts: starts per class.

    Returns:
        The signal and its ceiling (:func:`released_margin`), its spread over the candidates, a
        mean over classes, and the latents and signals of :func:`best_starts`.
    """
    seen = ask(interface, latent, bank)
    signal, ceiling = released_margin(seen)
    start = signal(seen)[:, classes]
    spread = start.std(0).mean().clamp_min(1e-6) if len(start) > 1 else start.new_ones(())
    return signal, ceiling, spread, *best_starts(bank, start, restarts)


def chosen(latent: Latent, ended: SearchResult, restarts: int, radius: str) -> Reconstruction:
    """The images of the best restart of every class, with what is known of their search.

    Args:
        latent: which was searched.
        ended: where the search ended.
        restarts: runs per class.
        radius: what ``ended.radius`` is called in ``info``.
    """
    rows = best_restart(ended.quality, restarts)
    return Reconstruction(
        latent.decode(ended.z[rows]),
        {
            "stop_reasons": [ended.reasons[row] for row in rows.tolist()],
            "steps": len(ended.trace) - 1,
            "signal": ended.quality[rows].tolist(),
            "norm": ended.z[rows].norm(dim=1).tolist(),
            radius: ended.radius[rows].tolist(),
            "improvement_last_fifth": last_fifth(ended.trace),
        },
    )


def afforded(exposure: Exposure, bank: Tensor, repeats: int) -> Tensor:
    """As many first rows of ``bank`` as the budget pays for, asked ``repeats`` times each."""
    return bank if exposure.left is None else bank[: exposure.left // repeats]


def climb_scores(
    exposure: Exposure,
    latent: Latent,
    bank: Tensor,
    classes: Tensor,
    restarts: int,
    steps: int,
    pairs: int,
    radius: float,
    learning_rate: float,
    prior_weight: float,
    expansion: float,
    expand_at: float,
    repeats: int,
    rng: torch.Generator,
) -> SearchResult:
    """Climb the smoothed log-score margin by two-sided differences with large steps.

    The margin ``log p_c - max log p_other`` equals the logit margin where scores are complete
    (:func:`released_margin`). Probes stand ``radius`` away, far enough to cross the plateaus that
    rounding and truncation leave; where most of them sit at the signal's ceiling, the radius
    grows, which is boundary repulsion: one-hot scores are attacked as labels are.

    Args:
        exposure: offers scores.
        latent: where to search.
        bank: candidate starts ``[m, k]``; each is queried once, for all classes together.
        classes: int64 ``[t]``.
        restarts: runs per class, from the best candidates of the class.
        steps: gradient steps; each costs ``2 * pairs`` queries per run.
        pairs: antithetic pairs of probes per step.
        radius: length of a probe's displacement, in standard deviations of the prior.
        learning_rate: of Adam, decayed to 0 by a half cosine.
        prior_weight: weight of ``|z|^2 / 2`` relative to the signal's spread over ``bank``.
        expansion: factor of a growing radius.
        expand_at: share of probes at the ceiling above which the radius grows.
        repeats: answers averaged for every point.
        rng: of the directions.

    Returns:
        Rows restart by restart. Reasons: ``steps``, ``budget``, or ``flat`` where no probe of
        any step differed from its opposite.
    """
    rows, k = classes.repeat(restarts), latent.size
    interface = repeated(exposure.scores, repeats)
    bank = afforded(exposure, bank, repeats)
    if len(bank) == 0:
        return nothing(bank, len(rows))
    signal, ceiling, spread, z, quality = first_look(interface, latent, bank, classes, restarts)
    n = len(z)
    reach = torch.full((n, 1, 1), float(radius), device=z.device)
    first, second = torch.zeros_like(z), torch.zeros(n, 1, device=z.device)
    flat = torch.ones(n, dtype=torch.bool, device=z.device)
    trace = [quality.mean()]
    reason = "steps"
    for step in range(steps):
        if not exposure.affords(2 * pairs * n * repeats):
            reason = "budget"
            break
        u = directions(n, pairs, k, rng)
        probes = torch.stack([z.unsqueeze(1) + reach * u, z.unsqueeze(1) - reach * u], 2)
        answers = signal(ask(interface, latent, probes.flatten(0, 2))).view(n, pairs, 2, -1)
        s = answers.gather(3, rows.view(n, 1, 1, 1).expand(-1, pairs, 2, -1)).squeeze(3)
        difference = s[:, :, 0] - s[:, :, 1]
        flat &= (difference == 0).all(1)
        slope = (difference.unsqueeze(2) / (2 * reach) * u).sum(1) * (k / min(pairs, k))
        gradient = slope / spread - prior_weight * z
        quality = s.mean((1, 2))
        trace.append(quality.mean())
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient.square().mean(1, keepdim=True)
        unbiased = first / (1 - 0.9 ** (step + 1))
        size = (second / (1 - 0.99 ** (step + 1))).sqrt().clamp_min(1e-12)
        rate = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
        z = within(z + rate * unbiased / size, math.sqrt(k))
        full = (s >= ceiling - 1e-4).float().mean((1, 2)) > expand_at
        reach = torch.where(full.view(n, 1, 1), reach * expansion, reach)
    still = flat.tolist() if len(trace) > 1 else [False] * n
    reasons = ["flat" if dead else reason for dead in still]
    return SearchResult(z, quality, reasons, torch.stack(trace), reach.view(n))


def _starts(
    exposure: Exposure,
    latent: Latent,
    bank: Tensor,
    classes: Tensor,
    restarts: int,
    clamp: float,
    rounds: int,
    repeats: int,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Latents ``[restarts * t, k]`` that the deployment labels as their class, and which exist.

    Prior samples and public images first; then ever wider samples while a class is missing.
    """
    interface = repeated(exposure.labels, repeats)
    pool, names = bank[:0], classes[:0]
    for attempt in range(rounds + 1):
        if attempt > 0:
            drawn = torch.randn(bank.shape, generator=rng, device=rng.device)
            bank = drawn * (1 + 0.5 * attempt)
        bank = afforded(exposure, bank.clamp(-clamp, clamp), repeats)
        if len(bank) == 0:
            break
        pool, names = (
            torch.cat([pool, bank]),
            torch.cat([names, ask(interface, latent, bank)]),
        )
        if bool(torch.isin(classes, names).all()):
            break
    if len(pool) == 0:
        rows = restarts * len(classes)
        return pool.new_zeros(rows, latent.size), names.new_zeros(rows, dtype=torch.bool)
    inside = names.unsqueeze(1) == classes
    count = inside.sum(0)
    order = torch.argsort(inside.int(), dim=0, descending=True, stable=True)
    turn = torch.arange(restarts, device=pool.device).unsqueeze(1) % count.clamp_min(1)
    z = torch.where((count > 0).view(1, -1, 1), pool[order.gather(0, turn)], 0.0)
    return z.flatten(0, 1), (count > 0).repeat(restarts)


def repel_boundary(
    exposure: Exposure,
    latent: Latent,
    bank: Tensor,
    classes: Tensor,
    restarts: int,
    steps: int,
    points: int,
    radius: float,
    expansion: float,
    expand_at: float,
    patience: int,
    clamp: float,
    normalise: bool,
    rounds: int,
    repeats: int,
    rng: torch.Generator,
) -> SearchResult:
    """Boundary repulsion, BREP-MI (Kahla et al., CVPR 2022).

    Around a latent of the class, ``points`` unit directions are probed at radius R. The latent
    moves by ``min(R / 3, 3)`` against the mean of the directions that leave the class; a move
    that would itself leave the class is not made. Once enough probes stay inside, the latent is
    kept and R grows. The last latent kept before a growth is the answer.

    Args:
        exposure: offers labels.
        latent: where to search.
        bank: candidate starts ``[m, k]``.
        classes: int64 ``[t]``.
        restarts: runs per class, from different starts.
        steps: most moves; each costs ``points + 1`` queries per run.
        points: N, probes per move.
        radius: R0, in standard deviations of the prior.
        expansion: factor of a growing radius.
        expand_at: share of probes inside above which R grows. The authors' code asks the mean of
            votes +1 and -1 to exceed 0.75, that is a share of 0.875.
        patience: most moves at one radius.
        clamp: bound of every coordinate of a latent.
        normalise: move by the mean direction's unit vector. The authors' code moves by the mean
            itself, short where few probes leave, and needs several times the queries for the same
            radius.
        rounds: further rounds of ever wider samples for classes that had no start.
        repeats: answers asked for every point; their mode counts.
        rng: of starts and directions.

    Returns:
        Rows restart by restart. Reasons: ``no_start`` (no sample got the label; the row is the
        prior's mean), ``patience``, ``steps``, ``budget``. ``quality`` is the largest radius
        held.
    """
    rows = classes.repeat(restarts)
    z, started = _starts(exposure, latent, bank, classes, restarts, clamp, rounds, repeats, rng)
    interface = repeated(exposure.labels, repeats)
    kept, n = z.clone(), len(z)
    reach = torch.full((n,), float(radius), device=z.device)
    held = torch.zeros(n, device=z.device)
    waited = torch.zeros(n, dtype=torch.int64, device=z.device)
    reasons = ["steps" if ok else "no_start" for ok in started.tolist()]
    active = torch.nonzero(started).flatten()
    if not bool(started.any()) and not exposure.affords(repeats):
        reasons = ["budget"] * n
    trace = [held.mean()]
    for _ in range(steps):
        if len(active) == 0:
            break
        if not exposure.affords((points + 1) * len(active) * repeats):
            for row in active.tolist():
                reasons[row] = "budget"
            break
        here, far = z[active], reach[active].unsqueeze(1)
        u = torch.randn(len(active), points, latent.size, generator=rng, device=rng.device)
        u = u / u.norm(dim=2, keepdim=True)
        probes = here.unsqueeze(1) + far.unsqueeze(2) * u
        named = ask(interface, latent, probes.flatten(0, 1)).view(-1, points)
        outside = (named != rows[active].unsqueeze(1)).to(u.dtype)
        grown = 1 - outside.mean(1) > expand_at
        kept[active[grown]], held[active[grown]] = here[grown], reach[active[grown]]
        away = -(outside.unsqueeze(2) * u).mean(1)
        if normalise:
            away = away / away.norm(dim=1, keepdim=True).clamp_min(1e-12)
        move = away * (far / 3).clamp(max=3)
        moved = (here + move).clamp(-clamp, clamp)
        stays = ask(interface, latent, moved) == rows[active]
        z[active] = torch.where(stays.unsqueeze(1), moved, here)
        reach[active[grown]] *= expansion
        waited[active] = torch.where(grown, 0, waited[active] + 1)
        tired = waited[active] >= patience
        for row in active[tired].tolist():
            reasons[row] = "patience"
        active = active[~tired]
        trace.append(held.mean())
    return SearchResult(kept, held, reasons, torch.stack(trace), reach)
