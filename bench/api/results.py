"""Results that are there: loaded, shown, compared, packed, verified and run again."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.contract.errors import UserError, require

if TYPE_CHECKING:
    from bench.api.in_memory import Results
    from bench.contract.record import TrialRecord
    from bench.engine.settings import Settings
    from bench.exchange.compare import Comparison
    from bench.exchange.pack import Pack
    from bench.exchange.reproduce import Reproduction
    from bench.exchange.signatures import Attestation
    from bench.exchange.submit import Submission
    from bench.exchange.verify import Verification
    from bench.report.latex import Columns

Words = Sequence[str]
_SHOWN = 4


def settings(words: Words = (), config_dir: Path | None = None) -> Settings:
    """The settings that overrides give."""
    from bench.engine.config import compose_grid

    return compose_grid(words, config_dir).settings


def require_store(chosen: Settings, trial: str) -> None:
    """Refuse to look for a trial where there is no store; opening one would make it.

    Raises:
        UserError: there is none.
    """
    require(
        chosen.store.is_dir(),
        f"There is no trial '{trial}', since there is no store '{chosen.store}'; name one with "
        "store=, or a pack with --from.",
    )


def load(
    *names: str,
    words: Words = (),
    config_dir: Path | None = None,
    joining: Sequence[str] = (),
    source: Literal["store", "mlflow"] = "store",
) -> Results:
    """Results that are there already.

    Args:
        *names: packs (a folder or a ``.zip``), suites or executions in the store; of several the
            boards of all stand together. None: the suite's newest run.
        words: overrides; ``store=`` and ``suite=`` say where to look.
        config_dir: a folder with a user's own options.
        joining: submissions that join the boards.
        source: where the suite's newest run is read from.

    Raises:
        UserError: there is no such thing, none of its trials has ended, or figures of a pack do not
            follow from its own records.
    """
    from bench.api.in_memory import Results
    from bench.exchange import consistency, sources
    from bench.exchange.pack import Pack, together

    chosen = settings(words, config_dir)
    require(
        source == "store" or not names,
        "--from mlflow reads suite=; leave out --from to report packs, suites or executions.",
    )
    if source == "mlflow":
        from bench.engine.tracking.sink import fetch

        records, pictures, manifest = fetch(chosen.tracking.uri, chosen.label)
        require(bool(records), f"No trial of suite '{chosen.label}' has ended yet; run it first.")
        pack = Pack(chosen.label, records, manifest, pictures)
    else:
        packs = [sources.load(name, chosen) for name in names] or [sources.newest(chosen)]
        for name, read in zip(names, packs, strict=False):
            consistency.require_sound(read, name)
        pack = together(packs)
    return Results(sources.joined(pack, joining, chosen))


def report(
    *names: str,
    words: Words = (),
    config_dir: Path | None = None,
    joining: Sequence[str] = (),
    source: Literal["store", "mlflow"] = "store",
    to: Path | None = None,
    figures: bool = False,
    signers: Path | None = None,
    columns: Columns = "1",
    authors: Sequence[str] = (),
    licence: str = "",
    url: str = "",
) -> Results:
    """Write the boards of :func:`load` as a site that opens from disk.

    Args:
        *names: as for :func:`load`.
        words: overrides.
        config_dir: a folder with a user's own options.
        joining: submissions that join the boards.
        source: where the suite's newest run is read from.
        to: folder to write to; None: ``<report_dir>/<label>``.
        figures: also draw each board for papers.
        signers: whose signatures are trusted, as for :func:`attestations`.
        columns: where LaTeX tables are to stand: in the text of one column, in one of two columns
            or across both (``page``).
        authors: of the report; none: who submitted the pack, if it says so.
        licence: of its pages and figures, as ``CC BY 4.0``.
        url: address at which the folder will be found, for permalinks.

    Raises:
        UserError: as :func:`load`, or the folder cannot be written.
    """
    results = load(*names, words=words, config_dir=config_dir, joining=joining, source=source)
    out = to or settings(words, config_dir).report_dir / results.pack.suite
    site = results.report(
        out, figures, config_dir, signers, columns, authors=authors, licence=licence, url=url
    )
    return replace(results, site=site)


def show(
    name: str, words: Words = (), config_dir: Path | None = None, source: str | None = None
) -> tuple[TrialRecord, dict[str, bytes]]:
    """The record of one trial, and the files of its reconstruction where the store has it.

    Args:
        name: the beginning of its identity, or ``dataset/model/defense/attack/seed``.
        words: overrides; ``store=`` says where to look.
        config_dir: a folder with a user's own options.
        source: pack, suite or execution that it is in; None: the store is searched.

    Returns:
        Its record, and its files by name: tensors, pictures, an attack's trail.

    Raises:
        UserError: none or several have that name.
    """
    from bench.engine.store import Store
    from bench.exchange import sources

    chosen = settings(words, config_dir)
    if source is not None:
        return sources.in_pack(sources.load(source, chosen), name)[0], {}
    require_store(chosen, name)
    store = Store(chosen.store)
    record, _ = sources.in_store(store, name)
    attack = record.nodes["attack"]
    files = {file: store.file("attack", attack, file) for file in store.files("attack", attack)}
    return record, {file: data for file, data in files.items() if data is not None}


def compare(
    a: str | Results,
    b: str | Results,
    words: Words = (),
    config_dir: Path | None = None,
    margin: float = 0.05,
    anyway: bool = False,
) -> Comparison:
    """What moved from ``a`` to ``b``.

    Args:
        a: the earlier results: a pack, a suite or an execution, or what :func:`load` gave.
        b: the later ones.
        words: overrides.
        config_dir: a folder with a user's own options.
        margin: smallest difference that matters, from 0 to below 1.
        anyway: judge although protocol, data or metrics differ.

    Raises:
        UserError: they cannot be compared, or have no board in common.
    """
    from bench.exchange import compare as comparing

    require(0 <= margin < 1, f"--margin is {margin}; give a number from 0 to below 1.")
    first, second = (
        load(side, words=words, config_dir=config_dir) if isinstance(side, str) else side
        for side in (a, b)
    )
    packs = first.pack, second.pack
    planned = packs[0].manifest["trials"], packs[1].manifest["trials"]
    comparison = comparing.compare(packs[0].records, packs[1].records, margin, planned)
    names = f"'{packs[0].suite}' and '{packs[1].suite}'"
    if comparison.obstacles and not anyway:
        raise UserError(
            f"{names} cannot be compared, their figures do not mean the same: "
            f"{'; '.join(comparison.obstacles)}; --anyway compares them all the same."
        )
    common = len(comparison.moves) or not comparison.changed["what"].str.startswith("boards").all()
    require(
        bool(common),
        f"{names} have no board in common, so that nothing can have moved: "
        f"{_alone(comparison, 'A')} here, {_alone(comparison, 'B')} there; compare results on the "
        "same data, models and goals.",
    )
    return comparison


def note(checked: Verification, by: str, sample: int, seed: int, key: Path | None = None) -> Path:
    """Note the outcome of :func:`verify` in the pack and beside it; boards show it.

    Args:
        checked: what :func:`verify` gave.
        by: who verifies.
        sample: trials that were asked for.
        seed: which were drawn.
        key: SSH key to sign the outcome with; None: it is only noted.

    Returns:
        The file beside it.

    Raises:
        UserError: the pack could not be read, or the outcome not signed.
    """
    from bench.exchange.verify import note as noted

    return noted(checked, by, sample, seed, key)


def attestations(pack: Pack, signers: Path | None = None) -> tuple[Attestation, ...]:
    """Who signed a pack, and who of them is trusted.

    Args:
        pack: as it was read; of several suites together, all of them.
        signers: file of allowed signers in OpenSSH's format; None: the one that the environment
            variable ``INVBENCH_SIGNERS`` names, if any.

    Raises:
        UserError: ``ssh-keygen`` or the file is not here.
    """
    from bench.exchange import signatures

    chosen = signatures.signers_file(signers)
    members = pack.members or (pack,)
    return tuple(a for member in members for a in signatures.attestations(member, chosen))


def executions(words: Words = (), config_dir: Path | None = None) -> list[dict[str, Any]]:
    """Manifests of the runs in the store, the newest first; with ``suite=`` of that one alone."""
    from bench.engine.store import Store

    chosen = settings(words, config_dir)
    named = any(word.partition("=")[0] in ("suite", "label") for word in words)
    runs = Store(chosen.store).executions() if chosen.store.is_dir() else iter(())
    return [manifest for manifest in runs if not named or manifest["suite"] == chosen.label]


def submit(
    source: str,
    out: Path,
    words: Words = (),
    config_dir: Path | None = None,
    joining: Sequence[str] = (),
    **how: Any,
) -> Submission:
    """Pack results for others to verify; see :func:`bench.exchange.submit.submit` for ``how``.

    Args:
        source: a suite, an execution or a pack.
        out: file to write, ending in ``.zip``, or a folder.
        words: overrides.
        config_dir: a folder with a user's own options.
        joining: submissions that join it first.
        **how: ``by``, ``remark``, ``attack``, ``defense``, ``allow_dirty``, ``key``.

    Raises:
        UserError: it cannot be submitted, or not written there.
    """
    from bench.exchange import sources
    from bench.exchange.submit import submit as packed

    require(
        not (joining and (how.get("attack") or how.get("defense"))),
        "--with packs whole boards; leave out --attack and --defense.",
    )
    chosen = settings(words, config_dir)
    results = sources.joined(sources.load(source, chosen), joining, chosen)
    return packed(results, out, **how)


def verify(
    path: Path,
    words: Words = (),
    config_dir: Path | None = None,
    sample: int = 3,
    seed: int = 0,
    allow_code: Sequence[str] = (),
) -> Verification:
    """Check a pack, and run a sample of its trials again.

    Args:
        path: a folder or a ``.zip``.
        words: overrides; ``data_root=`` says where real data is.
        config_dir: a folder with a user's own options.
        sample: trials to run again; 0: only what needs no training.
        seed: which trials are drawn.
        allow_code: packages of others whose code it may run; look at their files first, with
            :func:`bench.exchange.code.files`.

    Raises:
        UserError: it is no pack, or its grid cannot be composed here.
    """
    from bench.exchange.verify import verify as checked

    require(sample >= 0, f"--sample is {sample}; give 0 or more.")
    return checked(path, settings(words, config_dir), words, config_dir, sample, seed, allow_code)


def reproduce(
    name: str,
    words: Words = (),
    config_dir: Path | None = None,
    source: str | None = None,
    keep: Path | None = None,
    allow_code: Sequence[str] = (),
) -> Reproduction:
    """Run one recorded trial again, from nothing, and compare it with its record.

    Args:
        name: the beginning of its identity, or ``dataset/model/defense/attack/seed``.
        words: overrides; ``data_root=`` says where real data is.
        config_dir: a folder with a user's own options.
        source: pack, suite or execution that it is in; None: the store is searched.
        keep: empty folder for the store of the new run; None: a temporary one.
        allow_code: packages of others whose code a pack may run.

    Raises:
        UserError: there is no such trial, or its suite cannot be composed here.
    """
    from bench.exchange.reproduce import reproduce as run_again

    chosen = settings(words, config_dir)
    return run_again(name, chosen, words, config_dir, source, keep, allow_code)


def _alone(comparison: Comparison, side: str) -> str:
    """Boards that only one side has, in words."""
    changed = comparison.changed
    names = list(changed.loc[changed[side] == "present", "board"])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "nothing") + more


def sync(words: Words = (), config_dir: Path | None = None) -> tuple[int, Results]:
    """Upload to MLflow what it lacks of a suite's newest run; doing it twice adds nothing.

    Returns:
        How many trials were uploaded now, and what the store has of the run.

    Raises:
        UserError: the store has no such run, or MLflow cannot be reached.
    """
    from bench.engine.store import Store
    from bench.engine.tracking.sink import sync

    chosen = settings(words, config_dir)
    require(
        chosen.tracking.name == "mlflow",
        "tracking=none has nowhere to upload to; leave it out, or set tracking.uri=.",
    )
    results = load(words=words, config_dir=config_dir)
    store, manifest = Store(chosen.store), results.pack.manifest
    with tempfile.TemporaryDirectory() as folder:
        pages = results.report(Path(folder), config_dir=config_dir).page.parent
        written = sync(store, chosen.tracking.uri, manifest, pages)
    return written, results
