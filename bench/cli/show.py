"""``invbench show``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.printing import as_json, print_json, wrapped
from bench.cli.words import Given, takes
from bench.contract.errors import UserError

if TYPE_CHECKING:
    from bench.contract.record import TrialRecord


@click.command("show")
@takes("TRIAL", 1, 1)
@click.option(
    "--from",
    "source",
    metavar="PACK",
    help="Pack, suite or execution the trial is in; without it the store is searched.",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write the files of its reconstruction to.",
)
@as_json
def command(given: Given, source: str | None, folder: Path | None, as_json: bool) -> None:
    """Show one trial, named by the beginning of its identity or by its cell.

    A cell is dataset/model/defense/attack/seed, such as faces/mlp/none/miface/0.
    """
    from bench import api

    record, files = api.show(given.name, given.words, given.config_dir, source)
    if folder is not None:
        _write(folder, files)
    if as_json:
        sizes = {name: len(data) for name, data in files.items()}
        print_json("show/1", {**record.model_dump(mode="json"), "files": sizes})
        return
    for label, value in _rows(record):
        wrapped(str(value), f"{label:22} ")
    if files:
        listed = ", ".join(f"{name} ({len(data):,} bytes)" for name, data in files.items())
        wrapped(f"{listed}{'' if folder else '; --to FOLDER writes them'}", f"{'files':22} ")
    if record.error is not None and record.error.traceback:
        click.echo(f"traceback\n{record.error.traceback}")


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise UserError(f"--to: '{folder}' cannot be written ({error}); name another.") from error


def _rows(record: TrialRecord) -> Iterator[tuple[str, Any]]:
    yield "trial", record.trial_id
    yield "cell", record.cell.key()
    yield "status", record.status
    yield "goal", f"{record.goal} at access {record.access}"
    if record.error is not None:
        yield "error", f"{record.error.type}: {record.error.message}"
    score, utility, ledger = record.score, record.utility, record.privacy
    if score is not None:
        yield "leakage L", "no headroom" if score.L is None else f"{score.L:.3f}"
        yield "member gap M", "-" if score.M is None else f"{score.M:+.3f}"
        yield (
            score.metric,
            f"{score.value:.3f} (baseline {score.s_base:.3f} by {score.s_base_attack}, "
            f"ceiling {score.s_ceil:.3f})",
        )
        for name, value in score.extra.items():
            yield f"  {name}", f"{value:.4g}"
    if utility is not None:
        beside = "" if utility.reference is None else f" (scikit-learn {utility.reference:.3f})"
        yield utility.metric, f"{utility.value:.3f}{beside}"
    if ledger is not None:
        yield (
            "privacy",
            f"epsilon {ledger.epsilon:.3f} ({ledger.accountant}), {ledger.epsilon_rdp:.3f} (rdp), "
            f"delta {ledger.delta:.2g}, sigma {ledger.noise_multiplier:.3f}, {ledger.steps} steps",
        )
    cap = record.budget.queries_cap
    yield "queries", f"{record.budget.queries}{'' if cap is None else f' of at most {cap}'}"
    known = record.attack
    yield (
        "knowledge",
        f"declares {', '.join(known.knowledge) or 'none'}; read "
        f"{', '.join(known.knowledge_read) or 'none'}",
    )
    yield "flags", ", ".join(record.flags) or "none"
    yield "attack says", known.info or "nothing"
    yield "recorded", record.created_utc
