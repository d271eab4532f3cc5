"""The contract of release defenses, tried: probabilities, and lost labels charged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contract import Model, Query, ReleaseDefense, ServeDefense, Splits, UserError
from bench.contract.defenses import overrides
from bench.contract.task import top_list
from bench.engine.check.findings import Check, attempt, global_seeds
from bench.engine.check.probes import Ground, model_for
from bench.engine.check.scores import WIDTHS, best_kept, not_answers, probing
from bench.engine.config import Option
from bench.engine.deployment import Deployment

_ROWS = 64
_ALONE = 8


@dataclass(frozen=True)
class _Case:
    """Scores to release, and what they are about.

    Attributes:
        scores: ``[n, width]``.
        x: records ``[n, *shape]``.
        behind: the deployment, whose one layer is prepared.
    """

    scores: Tensor
    x: Tensor
    behind: Deployment

    def ask(
        self, layer: ReleaseDefense, rows: slice | Tensor = slice(None), seed: int = 0
    ) -> Tensor:
        """What a layer answers for some rows; ``seed`` is of the noise."""
        rng = torch.Generator().manual_seed(seed)
        query = Query(self.x[rows], rng, self.behind.key, self.behind.fitted_of(0))
        with torch.no_grad():
            return layer.release(self.scores[rows].clone(), query)


def undefended(model: Model, splits: Splits) -> Deployment:
    """The model, trained on ``splits`` without a defense."""
    from bench.models.training import train

    network, _ = train(model, [], splits, 0, "cpu")
    return Deployment(splits, model, [], [], 0, network, "cpu")


def prepared(bare: Deployment, layer: ReleaseDefense | ServeDefense) -> Deployment:
    """The deployment behind one layer, which has fitted what it needs."""
    behind = dataclasses.replace(bare, served=[layer], fitted={})
    return dataclasses.replace(behind, fitted=behind.prepare(0))


def try_release(option: Option, part: ReleaseDefense, ground: Ground) -> Iterator[Check]:
    """Release a model's scores and scores made to be hard."""
    if tuple(part.tasks) == ("recommendation",):
        yield from _try_list(option, part)
        return
    place, data = ground.dataset(part.modalities, tasks=part.tasks)
    splits = data.of_repeat(0).load(0, ground.data_root)
    _, model = model_for(data, part.tasks, part.needs)
    bare = undefended(model, splits)
    x = splits.test.x[:_ROWS]
    with torch.no_grad():
        scores = bare.answer(x, torch.Generator().manual_seed(0))
    behind = prepared(bare, part)
    own = _Case(scores, x, behind)
    cases = [own]
    classes = bare.task == "classification"
    if classes:
        widths = (scores.shape[1],) if overrides(part, "prepare") else WIDTHS
        for width in widths:
            if _possible(part, width):
                made = probing(width)
                about = x[torch.arange(len(made)) % len(x)]
                cases.append(_Case(made, about, behind))
    yield attempt(
        f"{option.name}: answers {'probabilities' if classes else 'finite numbers'} of the same "
        f"shape on {place.name} and on scores near a tie, saturated and uniform",
        lambda: _first(
            cases, lambda case: not_answers(case.ask(part), case.scores, classes, part.normalised)
        ),
    )
    yield attempt(
        f"{option.name}: keeps the best class the only best one, or says that it does not",
        lambda: (
            ""
            if part.relabels or not classes
            else _first(cases, lambda case: best_kept(case.ask(part), case.scores).reason)
        ),
    )
    yield attempt(f"{option.name}: answers with labels of classes", lambda: _labels(behind, x))
    if part.fresh:
        yield attempt(f"{option.name}: answers anew every time", lambda: _anew(part, own))
    else:
        yield attempt(f"{option.name}: answers row by row", lambda: _row_by_row(part, own))
    yield attempt(
        f"{option.name}: is active",
        lambda: (
            "it changed nothing"
            if all(torch.equal(case.ask(part), case.scores) for case in cases)
            else ""
        ),
    )
    if part.zero is not None:
        zero = dataclasses.replace(part, **part.zero)  # type: ignore[type-var]
        idle = prepared(bare, zero)
        yield attempt(
            f"{option.name}: does nothing at zero strength",
            lambda: _first(
                [dataclasses.replace(case, behind=idle) for case in cases],
                lambda case: (
                    ""
                    if torch.equal(case.ask(zero), case.scores)
                    else f"options {dict(part.zero or {})} must leave the scores as they are"
                ),
            ),
        )


def _first(cases: list[_Case], reason_against: Callable[[_Case], str]) -> str:
    """The first reason that any case gives."""
    for case in cases:
        reason = reason_against(case)
        if reason:
            return f"with {case.scores.shape[1]} classes, {reason}"
    return ""


def _possible(part: ReleaseDefense, width: int) -> bool:
    try:
        part.check_classes(width)
    except UserError:
        return False
    return True


def _labels(behind: Deployment, x: Tensor) -> str:
    with torch.no_grad():
        labels = behind.label(x, torch.Generator().manual_seed(0))
    if behind.task != "classification":
        return ""
    width = behind.splits.card.n_classes
    if labels.shape != (len(x),) or labels.dtype != torch.int64:
        return f"{len(x)} records got labels {tuple(labels.shape)} {labels.dtype}"
    if int(labels.min()) < 0 or int(labels.max()) >= width:
        return f"labels reach from {int(labels.min())} to {int(labels.max())} of {width} classes"
    return ""


def _anew(part: ReleaseDefense, case: _Case) -> str:
    first = case.ask(part)
    with global_seeds(1):
        again = case.ask(part)
    if not torch.equal(first, again):
        return "noise must follow from 'query.rng' and from nothing else"
    if torch.equal(first, case.ask(part, seed=1)):
        return "'fresh' says that noise is drawn anew, and another 'query.rng' drew the same"
    return ""


def _row_by_row(part: ReleaseDefense, case: _Case) -> str:
    whole = case.ask(part)
    with global_seeds(1):
        alone = torch.cat([case.ask(part, slice(i, i + 1)) for i in range(_ALONE)])
        backwards = case.ask(part, torch.arange(len(whole) - 1, -1, -1), seed=1).flip(0)
    for other, what in ((alone, "one by one"), (backwards, "in another order")):
        if not torch.allclose(other, whole[: len(other)], atol=1e-6):
            return (
                f"its rows asked {what} are answered differently from the batch; answer each "
                "record by itself, or set 'fresh' if noise is drawn with every answer"
            )
    return ""


def _try_list(option: Option, part: ReleaseDefense) -> Iterator[Check]:
    """A recommender's layer: the list that it shows, and its scores."""
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(64, 60, generator=rng) < 0.2).float()
    scores = torch.randn(64, 60, generator=rng)
    query = Query(x, rng)

    def row_by_row() -> str:
        shown = part.recommend(scores, x)
        rows = [part.recommend(scores[i : i + 1], x[i : i + 1]) for i in range(len(x))]
        if shown is not None and not all(
            row is not None and torch.equal(row[0], shown[i]) for i, row in enumerate(rows)
        ):
            return "a batch is answered differently from its rows one by one"
        return ""

    def passive() -> str:
        shown, usual = part.recommend(scores, x), top_list(scores, x)
        changed = not torch.equal(part.release(scores.clone(), query), scores)
        if shown is not None:
            changed |= shown.shape != usual.shape or not torch.equal(shown, usual)
        return "" if changed or part.offered("scores") != "scores" else "it changed nothing"

    yield attempt(
        f"{option.name}: answers finite numbers of the same shape",
        lambda: not_answers(part.release(scores.clone(), query), scores, classes=False),
    )
    yield attempt(f"{option.name}: shows lists of items", lambda: _items(part, scores, x))
    yield attempt(f"{option.name}: answers row by row", row_by_row)
    yield attempt(f"{option.name}: is active", passive)


def _items(part: ReleaseDefense, scores: Tensor, x: Tensor) -> str:
    shown = part.recommend(scores, x)
    if shown is None:
        return ""
    if shown.dim() != 2 or len(shown) != len(scores) or shown.dtype != torch.int64:
        return f"{len(scores)} customers got lists {tuple(shown.shape)} {shown.dtype}"
    if int(shown.min()) < -1 or int(shown.max()) >= scores.shape[1]:
        return f"lists name items from {int(shown.min())} to {int(shown.max())}"
    return ""
