"""A trained network behind its defenses: what it answers, to whom, and what its clients share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from bench.contract import (
    Access,
    Answers,
    Attack,
    Exposure,
    Federation,
    Gateway,
    Model,
    Network,
    Owner,
    Query,
    ReleaseDefense,
    ServeDefense,
    Split,
    Splits,
    Stream,
    Task,
    Traffic,
    TrainingDefense,
    Victims,
    Weights,
    at_least,
    generator,
    require,
    seeded,
    sparse,
)
from bench.contract import seed as derive
from bench.contract.task import answers, top_list
from bench.data import traffic
from bench.engine.components import build
from bench.engine.recent import Recent
from bench.models import federated, training
from bench.models.replicas import Training, group_of, train_together

_MOST_TOGETHER = 16
"""Most deployments that are made, and held, at once."""
Made = Recent[tuple[Network, float]]
"""Networks that were trained as a target was, with the seconds that took."""


@dataclass(frozen=True)
class Deployment:
    """A target as it is deployed.

    Attributes:
        splits: the data it was trained on.
        model: its architecture.
        layers: training part of its defense.
        served: release and serve part of its defense, in order.
        seed: of its training.
        network: trained, in evaluation mode.
        device: torch device name.
        fitted: what the served layers prepared, by their place and name: ``0.threshold``.
        key: secret of the deployment; from the seed of its target.
        origin: digest of the target's weights: networks that were trained in another way, by a
            class of the same name that a notebook has changed for example, are not its like.
        made: what :meth:`like` has trained before; None: nothing is kept.
        spared: seconds of trainings that :meth:`like` did not repeat.
    """

    splits: Splits
    model: Model
    layers: Sequence[TrainingDefense]
    served: Sequence[ReleaseDefense | ServeDefense]
    seed: int
    network: Network
    device: str
    fitted: Mapping[str, Tensor] = field(default_factory=dict)
    origin: str = ""
    made: Made | None = None
    spared: list[float] = field(default_factory=list)

    @classmethod
    def restore(
        cls,
        splits: Splits,
        config: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        served: Sequence[Mapping[str, Any]],
        device: str,
        packages: tuple[str, ...],
        fitted: Mapping[str, Tensor] | None = None,
    ) -> Deployment:
        """Rebuild it from the options and the weights of a target node, strictly."""
        model = build(config["model"], "model", packages)
        layers = [build(layer, "defense", packages) for layer in config["defense"]]
        network = training.restore(model, layers, splits, config["seed"], weights, device)
        parts = [build(r, "defense", packages) for r in served]
        held = {k: v.to(device) for k, v in (fitted or {}).items()}
        return cls(splits, model, layers, parts, config["seed"], network, device, held)

    @property
    def task(self) -> Task:
        """What the target predicts."""
        return training.task_of(self.model, self.splits.card)

    @property
    def release(self) -> list[tuple[int, ReleaseDefense]]:
        """The layers that change answers, with their place."""
        return [(i, p) for i, p in enumerate(self.served) if isinstance(p, ReleaseDefense)]

    def fitted_of(self, place: int) -> dict[str, Tensor]:
        """What the served layer at ``place`` prepared."""
        head = f"{place}."
        return {k.removeprefix(head): v for k, v in self.fitted.items() if k.startswith(head)}

    def like(self, wanted: Iterable[tuple[Split, Split, int]]) -> Iterator[tuple[Answers, Answers]]:
        """Scores and labels of deployments made in the same way from other records.

        Architecture, recipe and every layer of the defense are this deployment's, the layers that
        prepare something included. Its records, seed, weights and secret key are not used. Who
        asks is not watched. Networks that can be are trained in one program, each with the outcome
        that it has alone; where none can be, they are trained one by one. Those that ``made`` holds
        are not trained again.

        Args:
            wanted: of each what it is trained on, what its defense finds public, and the seed of
                its training, its key and the noise of its answers.

        Raises:
            UserError: the defense cannot work with these records.
            DivergedError: training gave NaN or Inf.
        """
        rest, model = iter(wanted), self._alike
        size = 1 if group_of(model, self.layers) is None else _MOST_TOGETHER
        while part := list(islice(rest, size)):
            trainings = [
                Training(model, self.layers, self._other(train, public), seed)
                for train, public, seed in part
            ]
            for one, network in zip(trainings, self._trained(trainings), strict=True):
                if isinstance(network, Exception):
                    raise network
                yield self._made(one, network)

    @property
    def _alike(self) -> Model:
        alike = self.model.alike
        require(alike is not None, "Nobody says what is like this model (model.external.shadows).")
        assert alike is not None
        return alike

    def _trained(self, trainings: Sequence[Training]) -> list[Network | Exception]:
        before = Recent(0) if self.made is None else self.made
        keys = [self._key(one) for one in trainings]
        kept = {key: found for key in keys if (found := before.get(key)) is not None}
        self.spared.extend(seconds for _, seconds in kept.values())
        networks: dict[Hashable, Network | Exception] = {k: found[0] for k, found in kept.items()}
        rest = {k: one for k, one in zip(keys, trainings, strict=True) if k not in kept}
        with torch.enable_grad():
            outcomes = train_together(list(rest.values()), self.device) if rest else []
        for key, outcome in zip(rest, outcomes, strict=True):
            if isinstance(outcome.value, Exception):
                networks[key] = outcome.value
                continue
            network = networks[key] = outcome.value[0]
            state = list(network.state_dict(keep_vars=True).values())
            size = sum(tensor.nbytes for tensor in state)
            before.put(key, (network, outcome.seconds), state, size)
        return [networks[key] for key in keys]

    def _key(self, one: Training) -> Hashable:
        """All that decides what a training gives."""
        content = hashlib.sha256()
        for split in (one.splits.train, one.splits.public):
            for value in (split.x, split.y, split.person, split.s):
                if value is not None:
                    content.update(f"{value.dtype} {tuple(value.shape)}".encode())
                    content.update(value.to_dense().contiguous().numpy().data)
        made = repr((one.model, one.layers, one.splits.card))
        return self.origin, made, one.seed, content.hexdigest(), self.device

    def _other(self, train: Split, public: Split) -> Splits:
        return replace(self.splits, train=train.to("cpu"), test=train, public=public.to("cpu"))

    def _made(self, one: Training, network: Network) -> tuple[Answers, Answers]:
        """What a network answers behind the same layers, prepared on its own records."""
        seed, served = one.seed, self.served
        bare = Deployment(one.splits, one.model, self.layers, served, seed, network, self.device)
        made = replace(bare, fitted=bare.prepare(derive(seed, role="owner")))
        scores, labels = made.interface(derive(seed, part="like"))
        return torch.no_grad()(scores), torch.no_grad()(labels)

    def prepare(self, seed: int) -> dict[str, Tensor]:
        """Let every served layer fit what it needs, behind the layers before it."""
        made: dict[str, Tensor] = {}
        for place, part in enumerate(self.served):
            before = replace(self, served=self.served[:place], fitted=made)
            own = derive(seed, layer=place)
            with torch.no_grad():
                owner = self._owner(before, derive(own, part="noise"))
            found = part.prepare(owner, own)
            made |= {f"{place}.{k}": v.to(self.device) for k, v in found.items()}
        return made

    def _owner(self, before: Deployment, seed: int) -> Owner:
        train, public = (s.to(self.device) for s in (self.splits.train, self.splits.public))
        rng = generator(seed, self.device)

        def scores(x: Tensor) -> Tensor:
            with torch.no_grad():
                return before.answer(x, rng)

        def accounts(count: int, seed: int) -> Traffic:
            return traffic.benign(train, self.splits.card, count, seed)

        return Owner(self.splits.card, self.task, train, public, scores, accounts, self.device)

    def answer(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Released scores ``[n, width]``; ``rng`` draws the noise of answers that are random."""
        if any(layer.blind for _, layer in self.release):
            out = torch.zeros(len(x), self.splits.card.width(self.task), device=self.device)
        else:
            out = answers(self.task, self._outputs(x))
        for place, layer in self.release:
            query = Query(sparse.dense(x), rng, self.key, self.fitted_of(place))
            out = layer.release(out, query)
        return out

    @property
    def key(self) -> int:
        """Secret of the deployment; an attacker knows the defense, not this."""
        return derive(self.seed, part="deployment key")

    def label(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Released labels int64 ``[n]``: of the model's own scores, unless a layer relabels.

        A recommender shows a list of items int64 ``[n, k]`` instead, best first.
        """
        if any(layer.relabels for _, layer in self.release):
            return self.answer(x, rng).argmax(dim=1)
        outputs = self._outputs(x)
        if self.task != "recommendation":
            return outputs.argmax(dim=1)
        asked = sparse.dense(x)
        for _, layer in reversed(self.release):
            shown = layer.recommend(outputs, asked)
            if shown is not None:
                return shown
        return top_list(outputs, asked)

    def interface(self, seed: int) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Scores and labels as functions of records, their noise following from ``seed``."""
        rng = generator(derive(seed, part="answers"), self.device)
        return (lambda x: self.answer(x, rng)), (lambda x: self.label(x, rng))

    def gate(self, stream: Stream) -> Gateway:
        """What an attacker's queries pass; nobody has asked anything yet."""
        monitors = [
            part.watch(self.fitted_of(place))
            for place, part in enumerate(self.served)
            if isinstance(part, ServeDefense)
        ]
        return Gateway(monitors, stream, self.splits.public.x.to(self.device))

    @property
    def watched(self) -> bool:
        """Whether anybody watches who asks."""
        return any(isinstance(part, ServeDefense) for part in self.served)

    def blocked(self, asked: Traffic, seed: int) -> float:
        """Share of the accounts in ``asked`` that are refused something."""
        scores, _ = self.interface(seed)
        if any(isinstance(p, ServeDefense) and p.reads_answers for p in self.served):
            answers = torch.cat([scores(part) for part in torch.split(asked.x, 65536)])
        else:
            answers = asked.x.new_zeros(len(asked), self.splits.card.width(self.task))
        refused = torch.zeros(len(asked), dtype=torch.bool, device=asked.x.device)
        for place, part in enumerate(self.served):
            if isinstance(part, ServeDefense):
                monitor = part.watch(self.fitted_of(place))
                refused |= ~monitor.admit(asked, answers).admitted
        accounts = int(asked.account.max()) + 1
        return len(torch.unique(asked.account[refused])) / accounts

    def _outputs(self, x: Tensor, rows: int = 65536) -> Tensor:
        """Raw outputs ``[n, width]``, in parts that fit in memory."""
        return torch.cat([self.network(part) for part in sparse.blocks(x, rows)])

    def offered(self, access: Access) -> Access:
        """What is left of ``access`` behind the release part."""
        for _, layer in self.release:
            access = layer.offered(access)
        return access

    def expose(
        self,
        attack: Attack,
        victims: Victims | None,
        seed: int,
        gate: Gateway,
        budget: int | None = None,
    ) -> Exposure:
        """What an attack is handed: its own access, a number of queries, and no more."""
        network, share, tampered, after = self.network, None, None, None
        if at_least(attack.access, "gradients") and victims is not None:
            network, share, tampered = self._federated(self.observed(attack), victims, seed)
        if at_least(attack.access, "deletions") and victims is not None:
            after = partial(self._without, victims, derive(seed, part="deletions"))
        scores, labels = self.interface(seed)
        return Exposure(
            attack.access, scores, labels, network, budget, share, gate, tampered, after
        )

    def _without(self, victims: Victims, seed: int) -> Weights:
        """The parameters ``[victims, *shape]`` of the target trained without each victim's record.

        Where a victim is no member, a member who is no victim is left out in the place. Every
        training draws its randomness anew: noise that two trainings share would protect neither.
        """
        train, records = self.splits.train, victims.records
        mine = [_same(train, records, i) for i in victims.member.nonzero().flatten().tolist()]
        others = torch.tensor(sorted(set(range(len(train))) - set(mine)) or mine)
        rng = generator(seed)
        states = []
        for i, member in enumerate(victims.member.tolist()):
            drawn = int(others[torch.randint(len(others), (), generator=rng)])
            gone = _same(train, records, i) if member else drawn
            kept = torch.arange(len(train), device=train.x.device) != gone
            fewer = replace(self.splits, train=train.take(kept.nonzero().flatten()))
            own = derive(self.seed, part="retraining", victim=i)
            with seeded(own, self.device):  # what a library draws is the owner's, too
                network, _ = training.train(self.model, self.layers, fewer, own, self.device)
            states.append({k: p.detach() for k, p in network.named_parameters()})
        return {k: torch.stack([state[k] for state in states]) for k in states[0]}

    def observed(self, attack: Attack) -> Federation:
        """The attack's protocol as it is observed behind the defense."""
        federation = attack.federation
        for layer in self.layers:
            federation = layer.federate(federation)
        return federation

    def _federated(
        self, federation: Federation, victims: Victims, seed: int
    ) -> tuple[Network, Callable[[], Weights], Callable[[Sequence[Weights]], Weights]]:
        """The global model of the victims' clients, a round of their updates, and one tampered."""
        network = self.network
        if federation.state == "initial":
            network = training.initial(self.model, self.layers, self.splits, self.seed, self.device)
        records = victims.records.to(self.device)
        rng = generator(derive(seed, part="clients"), self.device)

        def tampered(sent: Sequence[Weights]) -> Weights:
            return federated.updates(
                network,
                self.layers,
                records.x,
                records.y,
                federation,
                self.task,
                rng,
                self.device,
                sent,
            )

        return network, lambda: tampered(()), tampered


def _same(train: Split, records: Split, i: int) -> int:
    """Where a training record stands that equals record ``i`` of the victims."""
    x, y = records.x[i].to(train.x), records.y[i].to(train.y)
    return int(((train.x == x).flatten(1).all(1) & (train.y == y)).nonzero()[0, 0])
