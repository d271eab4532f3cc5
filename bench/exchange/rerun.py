"""Run recorded trials again, from what their suite's manifest says, and compare what comes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.contract import UserError, likeness, require
from bench.contract.identity import canonical
from bench.contract.likeness import TOLERANCE, differences
from bench.contract.record import TrialRecord
from bench.engine.config import Grid
from bench.engine.execution import execute, prepare
from bench.engine.graph import Node, Plan, Trial
from bench.engine.store import Store
from bench.exchange import admission
from bench.exchange.code import Foreign
from bench.exchange.pack import command_of

_WHERE = frozenset(
    {
        "store",
        "report_dir",
        "backend",
        "tracking",
        "progress",
        "rerun",
        "resources",
        "data_root",
    }
)
"""Settings of the machine a suite ran on; they never change what a trial gives."""

Match = Literal["identical", "close", "different"]


@dataclass(frozen=True)
class Likeness:
    """How a trial that was run again compares with its record.

    Attributes:
        outcome: ``identical`` bit for bit; ``close``: every figure within the tolerance, and equal
            bits are not asked for; else ``different``.
        facts: what was compared, each with whether it is equal bit for bit.
        gaps: differences of leakage ``L`` (of the success ``s`` where leakage has no headroom), of
            ``M`` and of ``utility``; empty where one of the two did not end well.
        environment: what differs of the machines and libraries, one ``name: old -> new`` each.
        exact: whether equal bits are asked for: environment, source and settings are the same, and
            no GPU worked.
        said: the outcome in one sentence.
    """

    outcome: Match
    facts: Mapping[str, bool]
    gaps: Mapping[str, float]
    environment: tuple[str, ...]
    exact: bool
    said: str


def plan_again(
    manifest: Mapping[str, Any],
    store: Path,
    data_root: Path | None = None,
    more: Sequence[str] = (),
    config_dir: Path | None = None,
    foreign: Foreign | None = None,
) -> tuple[Grid, Plan]:
    """Compose and plan a recorded suite on this machine.

    What this user's own store has is run as it says. A pack is a stranger's: its overrides may say
    only what :func:`bench.exchange.admission.runnable` lets pass, and its folder of options is not
    looked for here.

    Args:
        manifest: of the execution; its ``overrides`` are used but for those that say where it ran.
        store: where to run it.
        data_root: folder of real data here.
        more: further overrides; they win.
        config_dir: a user's own options; by default the manifest's folder, if it is here.
        foreign: the pack that the manifest is of; None: it is of this user's own store.

    Raises:
        UserError: the suite cannot be composed here any more.
    """
    words = identity_words(manifest)
    here = [f"store={value_of(store)}", "backend=local", "tracking=none"]
    if data_root is not None:
        here.append(f"data_root={value_of(data_root)}")
    if foreign is not None:
        own = {key_of(word) for word in more}
        words = [word for word in words if key_of(word) not in own]
        admission.runnable(words, foreign.where, foreign.allowed)
        return prepare([*words, *here, *more], config_dir, foreign.admit)
    said = manifest.get("config_dir")
    folder = config_dir or (Path(said) if said and Path(said).is_dir() else None)
    return prepare([*words, *here, *more], folder)


def identity_words(manifest: Mapping[str, Any]) -> list[str]:
    """The overrides of a suite that say what it is, without those that say where it ran."""
    words = list(manifest["overrides"])
    return [word for word in words if key_of(word).split(".")[0] not in _WHERE]


def of_suite(words: Sequence[str]) -> list[str]:
    """Further overrides of a suite that is run again, without where its store and data are."""
    return [word for word in words if key_of(word) not in ("store", "data_root")]


def portable(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest without what is of one machine: paths, process, where it ran.

    Running its command on another machine gives the same trials, data permitting.
    """
    words = identity_words(manifest)
    kept = (
        "name",
        "suite",
        "started_utc",
        "state",
        "trials",
        "skipped",
        "reported",
        "git",
        "merged",
    )
    out = {key: manifest[key] for key in kept if key in manifest}
    if "merged" in out:
        out["merged"] = [portable(part) for part in out["merged"]]
    folder = manifest.get("config_dir")
    return out | {
        "overrides": words,
        "command": command_of(words),
        "config_dir": Path(folder).name if folder else None,
    }


def match(plan: Plan, record: TrialRecord) -> Trial | None:
    """The planned trial of a recorded cell; None if the grid has it no more."""
    cell = record.cell.key()
    return next(
        (t for t in plan.trials if t.control == record.control and t.cell.key() == cell), None
    )


@dataclass(frozen=True)
class Survey:
    """How a recorded suite compares with what it plans here, before anything is run.

    Attributes:
        here: identities of the records whose trial is in the grid here.
        changed: those of them whose trial has another identity here: settings or source differ.
        lacking: cells of the grid here that have no record.
        claimed: combinations said to be ruled out that are not ruled out here.
    """

    here: frozenset[str]
    changed: frozenset[str]
    lacking: tuple[str, ...]
    claimed: tuple[str, ...]


def survey(
    plan: Plan,
    records: Iterable[TrialRecord],
    skipped: Iterable[Mapping[str, Any]],
    about: Callable[[Trial], bool] = lambda trial: True,
) -> Survey:
    """Compare records with the plan that their suite gives here.

    Args:
        plan: of the suite, here.
        records: of the suite.
        skipped: what its manifest says was left out.
        about: which trials of the plan the records should have.
    """
    planned = {(t.cell.key(), t.control): t for t in plan.trials}
    had = {(r.cell.key(), r.control): r.trial_id for r in records}
    shared = planned.keys() & had.keys()
    ruled_out = {what for what, _ in plan.skipped}
    # A shorter name is that of a data set or a model, which may be missing there and be here.
    claims = {entry["what"] for entry in skipped if entry["what"].count(" x ") == 3}
    return Survey(
        here=frozenset(had[key] for key in shared),
        changed=frozenset(had[key] for key in shared if had[key] != planned[key].id),
        lacking=tuple(c for (c, k), t in planned.items() if (c, k) not in had and about(t)),
        claimed=tuple(sorted(claims - ruled_out)),
    )


def rerun(grid: Grid, plan: Plan, trials: Iterable[Trial]) -> dict[str, TrialRecord]:
    """Run these trials, with everything they need, in the grid's store.

    Returns:
        Records by the trial's identity.

    Raises:
        UserError: the store or the back end cannot be used.
        KeyboardInterrupt: it was stopped.
    """
    wanted = tuple(trials)
    keys = [n for t in wanted for n in t.parts]
    needed: set[str] = set()
    while keys:
        key = keys.pop()
        if key not in needed:
            needed.add(key)
            keys += plan.nodes[key].parents.values()
    nodes = {key: node for key, node in plan.nodes.items() if key in needed}
    outcome = execute(grid, Plan(nodes, wanted, {})).outcome
    if outcome.interrupted:
        raise KeyboardInterrupt
    lost = "; ".join(outcome.left_open.values())
    require(outcome.state == "ended" and not lost, outcome.reason or lost)
    return {record.trial_id: record for record in outcome.records}


def compare(old: TrialRecord, new: TrialRecord) -> Likeness:
    """How a trial run again compares with its record."""
    environment = differences(old.env, new.env)
    exact = old.trial_id == new.trial_id and likeness.asks_for_bits(old.env, new.env)
    if old.status != "done" or new.status != "done":
        same = old.status == new.status
        said = f"it ended as '{new.status}', the record says '{old.status}'"
        outcome: Match = "identical" if same else "different"
        return Likeness(outcome, {"status": same}, {}, environment, exact, said)
    facts = {
        "weights of the target": old.target.sha256 == new.target.sha256,
        "reconstruction": old.attack.sha256 == new.attack.sha256,
        "score": old.score == new.score,
        "utility": old.utility == new.utility,
    }
    gaps = likeness.gaps(figures(old), figures(new))
    if all(facts.values()):
        return Likeness("identical", facts, gaps, environment, exact, "the same bit for bit")
    unequal = ", ".join(name for name, same in facts.items() if not same)
    far = likeness.beyond(gaps)
    sizes = ", ".join(f"{name} differs by {gap:.4g}" for name, gap in (far or gaps).items())
    if far or exact:
        why = f"more than {TOLERANCE:g}" if far else "and nothing differs that could explain it"
        said = f"not the same ({unequal}): {sizes}, {why}"
    else:
        said = f"not the same bits ({unequal}), but {sizes}, within {TOLERANCE:g}"
    if not exact:
        said += f" ({_apart(old, new, environment)})"
    return Likeness("different" if far or exact else "close", facts, gaps, environment, exact, said)


def figures(record: TrialRecord) -> likeness.Figures:
    """The figures of a record that are held against those of the same trial run again."""
    score, utility = record.score, record.utility
    return {
        "L": score.L if score else None,
        "s": score.value if score else None,
        "M": score.M if score else None,
        "utility": utility.value if utility else None,
    }


def _apart(old: TrialRecord, new: TrialRecord, environment: Sequence[str]) -> str:
    """Why equal bits are not asked for, in words."""
    reasons = [] if old.trial_id == new.trial_id else ["its source or settings have changed"]
    reasons += environment or (["a GPU need not repeat its bits"] if not reasons else [])
    return "; ".join(reasons)


def changes(
    store: Store | None, plan: Plan, old: Mapping[str, str], new: Mapping[str, str]
) -> Iterator[str]:
    """Differences of the identities, causes only: a parent's change is said once, at the parent.

    Args:
        store: where the earlier nodes' documents are; None, or one that lacks them: only the kind
            of node is said.
        plan: holds the documents of the new nodes.
        old: kind to node identity, as a record names them.
        new: the same of a planned trial.
    """
    seen: set[tuple[str, str]] = set()

    def walk(kind: str, before: str, after: str) -> Iterator[str]:
        if before == after or (before, after) in seen:
            return
        seen.add((before, after))
        node = plan.nodes[after]
        now = node.identity
        record = store.record(kind, before) if store is not None else None
        was = record["identity"] if record else None
        parents = was["parents"] if was else {r: old[r] for r in now["parents"] if r in old}
        causes = []
        for role in sorted({*parents, *now["parents"]}):
            b, a = parents.get(role), now["parents"].get(role)
            if b and a:
                causes.append(b != a)
                yield from walk(role, b, a)
        if was is None:
            if not any(causes):
                yield (
                    f"{kind}: it was {before[:12]}, now {after[:12]}; its earlier record, which "
                    "says what changed, is not in the store"
                )
            return
        same = {k: v for k, v in now.items() if k != "parents"}
        for line in difference({k: v for k, v in was.items() if k != "parents"}, same):
            yield f"{kind}: {_in_words(line, node)}"

    for kind, before in old.items():
        if kind in new:
            yield from walk(kind, before, new[kind])


def _in_words(line: str, node: Node) -> str:
    """A difference of two identities as a user knows it: modules, files and options."""
    part, _, rest = line.partition(".")
    name, _, change = rest.partition(": ")
    if part == "source":
        return f"source of {name} changed ({change})"
    if part == "files":
        reading = node.readings.get(name)
        what = f"'{reading.paths[0]}' ({reading.option})" if reading else f"file {name}"
        return f"contents of {what} changed ({change})"
    return line.removeprefix("config.")


def difference(old: Any, new: Any, where: str = "") -> list[str]:
    """What differs between two identity documents, ``place: old -> new`` each."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            line
            for key in sorted({*old, *new})
            for line in difference(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line
            for place, pair in enumerate(zip(old, new, strict=True))
            for line in difference(*pair, f"{where}.{place}")
        ]
    if old == new:
        return []
    return [f"{where}: {' -> '.join(_short(old, new))}"]


_SHOWN = 60
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
"""A SHA-256, of which the beginning is enough to tell it from another."""


def _short(old: Any, new: Any) -> tuple[str, str]:
    """Two values as text, cut to where they differ."""
    texts = ("absent" if value is None else canonical(value) for value in (old, new))
    one, two = (_DIGEST.sub(r"\1", text) for text in texts)
    if max(len(one), len(two)) <= 2 * _SHOWN:
        return one, two
    alike = next((i for i, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, alike - _SHOWN // 2)
    parts = [text[start : start + _SHOWN] for text in (one, two)]
    dots = ["..." if start + _SHOWN < len(text) else "" for text in (one, two)]
    head = "..." if start else ""
    return f"{head}{parts[0]}{dots[0]}", f"{head}{parts[1]}{dots[1]}"


def data_of(words: Sequence[str]) -> Path | None:
    """The data folder that overrides name, if it is here."""
    named = [w.partition("=")[2].strip("'\"") for w in words if key_of(w) == "data_root"]
    return Path(named[-1]) if named and Path(named[-1]).is_dir() else None


def key_of(word: str) -> str:
    """The key of an override as it is written."""
    return word.lstrip("+~").partition("=")[0].partition("@")[0]


def value_of(path: Path) -> str:
    """A path as a value of Hydra's grammar."""
    text = str(path)
    if re.fullmatch(r"[\w./-]+", text):
        return text
    if "'" in text:
        raise UserError(f"The path {text} has a quote in it; name one without.")
    return f"'{text}'"
