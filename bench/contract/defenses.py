"""Interfaces of defenses: one class of hooks for every place where an owner can act.

``sanitize`` the data, change the ``recipe``, ``adapt`` the network, change a step (``augment``,
``penalty``) or the whole ``fit``, what clients ``share`` and how they ``federate``; ``release``
other answers than the model's; ``watch`` who asks. A stack composes any number of layers in order.
Release and serve layers reuse the undefended target. A class may inherit several of the three.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.contract.access import Access
from bench.contract.base import Component
from bench.contract.data import Card, Modality, Split
from bench.contract.exposure import Federation
from bench.contract.serving import Monitor, Traffic
from bench.contract.task import TASKS, Task
from bench.contract.training import FitReport, Network, Recipe, TrainingContext


class Defense(Component, ABC):
    """Anything the owner does to leak less.

    Attributes:
        paper: citation.
        cost: what the owner pays besides utility, in a phrase: passes over the data, public
            records, time per answer.
        needs: what the model must offer (``descent``, ``steps``, ``blocks``).
        tasks: what the target may predict.
        modalities: data it works on.
        zero: options at which it must equal no defense bit for bit; None where it has no strength.
        probe: options that differ from ``zero``, for ``invbench check``; empty: the defaults.
        tunable: whether an option trades protection for usefulness. A suite gives all defenses that
            have one the same number of settings.
        hides: the option that names the attributes on which it acts, and what null means there, the
            ``sensitive`` one or ``all``; it leaves every other attribute as it is. Empty: it
            acts on whole records.
    """

    paper: ClassVar[str]
    cost: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    modalities: ClassVar[frozenset[Modality]] = frozenset({"image", "table", "basket"})
    zero: ClassVar[Mapping[str, Any] | None] = None
    probe: ClassVar[Mapping[str, Any]] = {}
    tunable: ClassVar[bool] = True
    hides: ClassVar[tuple[str, str] | tuple[()]] = ()

    @property
    def tries(self) -> int:
        """Among how many settings it chooses by itself, on the training records alone."""
        return 1

    @property
    def covers(self) -> frozenset[Access]:
        """Access levels at which it can change what an attack sees.

        A subclass states it as a class attribute where it does not depend on options. A release
        defense does not cover ``weights``: there the board prints "no effect".
        """
        return frozenset()


# ---------------------------------------------------------------- training
@dataclass(frozen=True)
class Step:
    """Where training is.

    Attributes:
        progress: share of the epochs done, in [0, 1).
        n_classes: classes of the target; 0 where it predicts none.
        rng: of the defenses' own randomness, on the records' device.
    """

    progress: float
    n_classes: int
    rng: torch.Generator


class TrainingDefense(Defense):
    """A defense that changes what is trained: every hook has a do-nothing default.

    Attributes:
        on_steps: whether it means nothing without the steps of the shared loop, besides what its
            ``augment``, ``penalty`` and ``share`` say of themselves: it ends training early.
        accounts: whether it states an epsilon, which holds only if what it trains on was not made
            from several records.
        rowwise: whether its ``sanitize`` treats every record by itself.
        by_trainer: whether its ``fit`` has most of the work done by the shared loop, so that
            several targets behind it gain by being trained in one program.
    """

    on_steps: ClassVar[bool] = False
    accounts: ClassVar[bool] = False
    rowwise: ClassVar[bool] = False
    by_trainer: ClassVar[bool] = False

    covers = frozenset(
        {"labels", "scores", "weights", "deletions", "gradients", "malicious_server"}
    )

    def sanitize(self, train: Split, context: TrainingContext) -> Split:
        """Change the training records."""
        return train

    def recipe(self, recipe: Recipe) -> Recipe:
        """Change the training recipe."""
        return recipe

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        """Change the freshly initialised network (architecture, weights, frozen parameters).

        It also shapes a network that is loaded again: the same seed must give the same parameter
        names and the same behaviour in evaluation mode.
        """
        return network

    def augment(self, network: Network, x: Tensor, y: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Change the records and targets of one step of the shared loop.

        Args:
            network: being trained, in training mode.
            x: records ``[n, *shape]``.
            y: labels int64 ``[n]``, or what an earlier layer made of them: a distribution over
                the classes per record, float ``[n, n_classes]``
                (:func:`bench.contract.task.distribution` gives it from either).
            step: where training is.

        Returns:
            Records and targets; targets may be distributions, negative entries included.
        """
        return x, y

    def penalty(
        self,
        network: Network,
        x: Tensor,
        y: Tensor,
        hidden: Sequence[Tensor],
        outputs: Tensor,
        step: Step,
    ) -> Tensor:
        """A scalar added to the loss of one step of the shared loop.

        Args:
            network: being trained, in training mode.
            x: records ``[n, *shape]`` after every ``augment``.
            y: targets after every ``augment``.
            hidden: output of each block, ``[n, ...]``, with their gradients.
            outputs: ``[n, width]``, of the same pass.
            step: where training is.
        """
        return outputs.new_zeros(())

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Train in place. At most one defense of a stack overrides this."""
        return context.trainer.fit(network, train, recipe, context.seed)

    def share(self, update: Mapping[str, Tensor], rng: torch.Generator) -> Mapping[str, Tensor]:
        """What a client shares instead of its update (federated training).

        Applied to every step of the target's own training and to the updates that an attacker
        with ``gradients`` or more observes.

        Args:
            update: by parameter name, one client's, in units of a gradient.
            rng: of the defense's noise, on the update's device.
        """
        return update

    def federate(self, federation: Federation) -> Federation:
        """The protocol as an attacker observes it: secure aggregation hides single clients."""
        return federation


def stages(layers: Sequence[Defense]) -> tuple[str, ...]:
    """Where ``layers`` act: ``training``, ``release``, ``serve``."""
    return tuple(name for name, kind in _STAGES.items() if any(isinstance(x, kind) for x in layers))


def overrides(layer: Defense, hook: str) -> bool:
    """Whether ``layer`` brings its own ``hook``."""
    for base in (TrainingDefense, ReleaseDefense, ServeDefense):
        if isinstance(layer, base) and hasattr(base, hook):
            return getattr(type(layer), hook) is not getattr(base, hook)
    return False


def clash(layers: Sequence[Defense]) -> str | None:
    """Why ``layers`` cannot be stacked, in one sentence; None if they can.

    A layer with a training loop of its own (``fit``) stands alone in that, and leaves no step for
    a layer that acts on the steps of the shared loop.
    """
    training = [x for x in layers if isinstance(x, TrainingDefense)]
    loops = [x for x in training if overrides(x, "fit")]
    if not loops:
        return None
    mixing = [x for x in training if overrides(x, "sanitize") and not x.rowwise]
    if mixing and loops[0].accounts:
        return (
            f"{_names(mixing)} makes a record from several, which the epsilon of "
            f"{_names(loops)} does not account for; use one of them"
        )
    if len(loops) > 1:
        return f"{_names(loops)} each replace the training loop; a stack may hold one such defense"
    on_steps = [
        x
        for x in training
        if x is not loops[0]
        and (x.on_steps or any(overrides(x, hook) for hook in ("augment", "penalty", "share")))
    ]
    if on_steps:
        return (
            f"{_names(on_steps)} changes the steps of the training loop, but {_names(loops)} "
            "replaces it; use one of them"
        )
    return None


def _names(layers: Sequence[Defense]) -> str:
    return " and ".join(type(layer).__name__ for layer in layers)


# ---------------------------------------------------------------- answers
@dataclass(frozen=True)
class Owner:
    """What the owner holds when a deployment is prepared. There is no test split, by design.

    Attributes:
        card: the public description of the data.
        task: what the target predicts.
        train: the training records.
        public: the public split.
        scores: what the deployment answers behind the layers before this one, ``[n, width]``.
        traffic: draws benign accounts from the owner's records: number of accounts, seed.
        device: torch device name.
    """

    card: Card
    task: Task
    train: Split
    public: Split
    scores: Callable[[Tensor], Tensor]
    traffic: Callable[[int, int], Traffic]
    device: str


@dataclass(frozen=True)
class Query:
    """What is asked, as a release defense sees it.

    Attributes:
        x: records ``[n, *shape]``.
        rng: of noise drawn anew with every query, on the records' device.
        key: secret of the deployment, for noise that is a function of the record.
        fitted: what ``prepare`` returned.
    """

    x: Tensor
    rng: torch.Generator
    key: int = 0
    fitted: Mapping[str, Tensor] = field(default_factory=dict)


class ReleaseDefense(Defense):
    """A defense that changes what is answered; it shares the undefended target.

    Attributes:
        blind: whether what it answers does not depend on what the model would: then the model is
            not asked.
    """

    blind: ClassVar[bool] = False
    takes_sparse = True  # it is shown the records of a query, which are dense
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)

    @property
    def covers(self) -> frozenset[Access]:
        """Scores; labels too where it may change them."""
        return frozenset({"scores", "labels"}) if self.relabels else frozenset({"scores"})

    @property
    def relabels(self) -> bool:
        """Whether the answered label is that of the released scores, not the model's own.

        Then the lost accuracy is charged to the defense.
        """
        return False

    @property
    def normalised(self) -> bool:
        """Whether the released scores of classes still sum to 1, as ``invbench check`` asks.

        A layer that says no may only cut or coarsen scores: they stay between 0 and 1, and no
        score overtakes another.
        """
        return True

    @property
    def fresh(self) -> bool:
        """Whether the same query is answered differently every time."""
        return False

    def offered(self, access: Access) -> Access:
        """The access left where the deployment offered ``access``; label-only lowers scores."""
        return access

    def check_classes(self, n_classes: int) -> None:
        """Raise UserError where an option is impossible for ``n_classes`` (k > classes)."""
        return

    def prepare(self, owner: Owner, seed: int) -> Mapping[str, Tensor]:
        """Fit what ``release`` needs, once per target; empty where it needs nothing."""
        return {}

    @abstractmethod
    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Map scores ``[n, width]`` to what is answered.

        Row by row and batch-size invariant, but for noise from ``query.rng``. Scores of classes
        sum to 1, and their argmax is kept unless ``relabels``; a recommender's are any numbers, a
        regression's are its outcome ``[n, 1]``.
        """

    def recommend(self, scores: Tensor, x: Tensor) -> Tensor | None:
        """The list a recommender shows, int64 ``[n, k]``, best first; None: as without it.

        Args:
            scores: ``[n, n_items]``.
            x: the baskets they are about, ``[n, n_items]``.
        """
        return None


# ---------------------------------------------------------------- serving
class ServeDefense(Defense):
    """A defense that watches who asks, and refuses; it shares the undefended target.

    Attributes:
        reads_answers: whether it looks at what is answered, and not only at who asks what and when.
    """

    reads_answers: ClassVar[bool] = True
    covers = frozenset({"labels", "scores"})

    def prepare(self, owner: Owner, seed: int) -> Mapping[str, Tensor]:
        """Calibrate on benign accounts, once per target; empty where nothing is calibrated."""
        return {}

    @abstractmethod
    def watch(self, fitted: Mapping[str, Tensor]) -> Monitor:
        """A monitor that has seen nobody yet.

        Args:
            fitted: what ``prepare`` returned.
        """


_STAGES: Mapping[str, type[Defense]] = {
    "training": TrainingDefense,
    "release": ReleaseDefense,
    "serve": ServeDefense,
}
