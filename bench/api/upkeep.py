"""What keeps a benchmark in order: its options, its data sets, its store, its components."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.results import settings
from bench.contract.errors import UserError, nearest, require

if TYPE_CHECKING:
    from bench.contract import Component
    from bench.contract.options import OptionDoc
    from bench.engine.check.findings import Check
    from bench.engine.config import Grid
    from bench.engine.doctor import Fault
    from bench.engine.store import Store

Words = Sequence[str]


def options(
    group: str, names: Sequence[str] = (), words: Words = (), config_dir: Path | None = None
) -> Iterator[tuple[str, list[Component]]]:
    """Options of a group with the components they describe; of a sweep one for each variant.

    Args:
        group: ``dataset``, ``model``, ``defense`` or ``attack``.
        names: the options; none: all.
        words: overrides.
        config_dir: a folder with a user's own options.

    Raises:
        UserError: there is no such option, or it cannot be built.
    """
    yield from _built(group, _composed(group, names, words, config_dir))


def _composed(group: str, names: Sequence[str], words: Words, config_dir: Path | None) -> Grid:
    from bench.engine.conf import list_options
    from bench.engine.config import compose_grid

    known = list_options(group, config_dir)
    for name in names:
        if name not in known:
            raise UserError(f"There is no {group} option '{name}'.{nearest(name, known)}")
    return compose_grid([f"{group}=[{','.join(names or known)}]", *words], config_dir)


def _built(group: str, grid: Grid) -> Iterator[tuple[str, list[Component]]]:
    from bench.engine.components import CORE_PACKAGES, build

    packages = (*CORE_PACKAGES, *grid.settings.plugins)
    for option in grid.options[group]:
        layers = [{k: v for k, v in layer.items() if k != "prior"} for layer in option.layers]
        yield option.file, [build(layer, option.where, packages) for layer in layers]


def data_sets(
    names: Sequence[str] = (), words: Words = (), config_dir: Path | None = None
) -> tuple[dict[str, Any], Path | None]:
    """Data sets by the name of their option, and the folder of real data.

    Args:
        names: options; none: all.
        words: overrides; ``data_root=`` names the folder.
        config_dir: a folder with a user's own options.

    Raises:
        UserError: there is no such option, or it cannot be built.
    """
    grid = _composed("dataset", names, words, config_dir)
    return {name: parts[0] for name, parts in _built("dataset", grid)}, grid.settings.data_root


def examine(
    words: Words = (), config_dir: Path | None = None
) -> tuple[Store, Iterator[Fault | None]]:
    """A store, and a look at all that is in it: faults, and None for each result that is good.

    Raises:
        UserError: there is no store.
    """
    from bench.engine import doctor
    from bench.engine.store import Store

    root = settings(words, config_dir).store
    require(root.is_dir(), f"There is no store '{root}'; name one with store=.")
    store = Store(root)
    return store, doctor.examine(store)


def repair(store: Store, faults: Sequence[Fault]) -> tuple[int, list[str]]:
    """Set aside what is of no use, so that a run makes it again; nothing is deleted.

    Returns:
        How many things were set aside, and what the same commands will compute again, a sentence
        a run.
    """
    from bench.engine import doctor

    again = doctor.affected(store, faults)
    return doctor.repair(store, faults), again


def export(
    folder: Path,
    kinds: Sequence[str] = (),
    words: Words = (),
    config_dir: Path | None = None,
) -> int:
    """Write a store as plain folders, ``<kind>/<identity>/record.json`` with the files beside it.

    Args:
        folder: an empty one, or one to be made.
        kinds: of results, such as ``trial``; none: all, and failures and runs too.
        words: overrides; ``store=`` names the store.
        config_dir: a folder with a user's own options.

    Returns:
        How many results were written.

    Raises:
        UserError: there is no store or no such kind, or the folder cannot be used.
    """
    from bench.engine.store import Store

    root = settings(words, config_dir).store
    require(root.is_dir(), f"There is no store '{root}'; name one with store=.")
    return Store(root).export(folder, tuple(kinds) or None)


def check(
    group: str,
    name: str,
    words: Words = (),
    config_dir: Path | None = None,
    on: str | None = None,
) -> Iterator[Check]:
    """Try whether a component keeps its contract.

    Args:
        group: ``dataset``, ``model``, ``defense`` or ``attack``.
        name: the option.
        words: overrides.
        config_dir: a folder with a user's own options.
        on: data set to try it on; None: an embedded one that fits.

    Raises:
        UserError: the option cannot be composed or built.
    """
    from bench.engine.check import check as tried

    return tried(group, name, words, config_dir, on)


def catalogue(group: str, config_dir: Path | None = None) -> list[dict[str, Any]]:
    """Every option of a group with what its component says of itself.

    See :func:`bench.engine.catalogue.entries` for the keys.
    """
    from bench.engine.catalogue import entries

    return entries(group, config_dir)


def unfit(entry: dict[str, Any], group: str, data: dict[str, Any]) -> str:
    """Why an option does not fit a data set, both from :func:`catalogue`; empty where it does."""
    from bench.engine.catalogue import unfit as reason

    return reason(entry, group, data)


def option_docs(
    group: str, name: str, words: Words = (), config_dir: Path | None = None
) -> Iterator[tuple[str, list[tuple[OptionDoc, str]]]]:
    """The keys of an option: of each of its components the class, and every key with its value.

    Raises:
        UserError: there is no such option, or it cannot be built.
    """
    from bench.contract.options import options_of, shown_default

    for _, parts in options(group, [name], words, config_dir):
        for part in parts:
            kind = type(part)
            yield (
                f"{kind.__module__}.{kind.__qualname__}",
                [(doc, shown_default(getattr(part, doc.name))) for doc in options_of(kind)],
            )
        return
