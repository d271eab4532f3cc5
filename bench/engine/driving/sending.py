"""A choice of nodes as the message that a worker gets."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from bench.engine.components import CORE_PACKAGES
from bench.engine.driving.bundles import Choice
from bench.engine.graph import Node, Plan
from bench.engine.messages import Bundle, Job, Parcel
from bench.engine.seal import DamagedError
from bench.engine.settings import Settings
from bench.engine.store import Store

_KEPT = 256
"""Parents' results that are kept to be sent again; their large files are not in them."""


class ParentsDamagedError(Exception):
    """Results that a bundle needs are not what was written.

    Attributes:
        reasons: what is wrong, by identity.
    """

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = reasons


class Sender:
    """Makes bundles.

    Args:
        plan: its nodes.
        store: where the results of parents are.
        settings: deadlines, data, packages.
        path: extra ``sys.path`` entries for workers.
    """

    def __init__(self, plan: Plan, store: Store, settings: Settings, path: tuple[str, ...]) -> None:
        self._plan, self._store, self._settings, self._path = plan, store, settings, path
        self._parcels: OrderedDict[str, Parcel] = OrderedDict()
        root = settings.data_root
        self._data_root = None if root is None else str(root.resolve())

    def bundle(self, number: int, choice: Choice, names: Sequence[str]) -> Bundle:
        """The message.

        Args:
            number: of the bundle.
            choice: what goes together.
            names: identities of its nodes.

        Raises:
            ParentsDamagedError: what nodes of it read is damaged.
        """
        nodes = [self._plan.nodes[name] for name in names]
        inside = set(names)
        parcels: dict[str, Parcel] = {}
        damaged: dict[str, str] = {}
        for parent in dict.fromkeys(p for node in nodes for p in node.above):
            if parent not in inside:
                try:
                    parcels[parent] = self._parcel(parent)
                except DamagedError as error:
                    damaged[parent] = error.reason
        if damaged:
            raise ParentsDamagedError(damaged)
        return Bundle(
            number,
            tuple(self._job(node) for node in nodes),
            parcels,
            groups=(tuple(names),) if choice.as_one else (),
            resources=choice.asked,
            data_root=self._data_root,
            packages=(*CORE_PACKAGES, *self._settings.plugins),
            path=self._path,
        )

    def forget(self, name: str) -> None:
        """A result was set aside and is made again: read it anew."""
        self._parcels.pop(name, None)

    def _job(self, node: Node) -> Job:
        return Job(
            node.id,
            node.kind,
            node.payload,
            node.parents,
            {role: self._plan.nodes[parent].payload for role, parent in node.parents.items()},
            source=node.series.source.digests,
            texts=node.texts,
            readings=node.readings,
            timeout_s=self._settings.timeout(node.kind),
        )

    def _parcel(self, name: str) -> Parcel:
        if name not in self._parcels:
            self._parcels[name] = self._store.parcel(self._plan.nodes[name].kind, name)
            if len(self._parcels) > _KEPT:
                self._parcels.popitem(last=False)
        self._parcels.move_to_end(name)
        return self._parcels[name]
