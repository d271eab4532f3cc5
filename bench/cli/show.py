"""``invbench show``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli.words import overrides


@click.command("show")
@click.argument("name", metavar="TRIAL")
@overrides
@click.option("--json", "as_json", is_flag=True, help="Print the whole record.")
def command(name: str, words: tuple[str, ...], config_dir: Path | None, as_json: bool) -> None:
    """Show one trial, named by the beginning of its identity or by its cell.

    A cell is dataset/model/defense/attack/seed, such as faces/mlp/none/miface/0.
    """
    from bench.cli import find
    from bench.engine.config import compose_grid
    from bench.engine.store import Store

    store = Store(compose_grid(words, config_dir).settings.store)
    record, _ = find.trial(store, name)
    if as_json:
        click.echo(record.model_dump_json(indent=1))
        return
    rows: list[tuple[str, Any]] = [
        ("trial", record.trial_id),
        ("cell", record.cell.key()),
        ("status", record.status),
        ("goal", f"{record.goal} at access {record.access}"),
    ]
    if record.error is not None:
        rows.append(("error", f"{record.error.type}: {record.error.message}"))
    if record.score is not None:
        s = record.score
        rows += [
            ("leakage L", "no headroom" if s.L is None else f"{s.L:.3f}"),
            ("member gap M", "-" if s.M is None else f"{s.M:+.3f}"),
            (
                s.metric,
                f"{s.value:.3f} (baseline {s.s_base:.3f} by {s.s_base_attack}, "
                f"ceiling {s.s_ceil:.3f})",
            ),
        ]
        rows += [(f"  {k}", f"{v:.4g}") for k, v in s.extra.items()]
    if record.utility is not None:
        u = record.utility
        beside = "" if u.reference is None else f" (scikit-learn {u.reference:.3f})"
        rows.append((u.metric, f"{u.value:.3f}{beside}"))
    if record.privacy is not None:
        p = record.privacy
        rows.append(
            (
                "privacy",
                f"epsilon {p.epsilon:.3f} ({p.accountant}), {p.epsilon_rdp:.3f} (rdp), "
                f"delta {p.delta:.2g}, sigma {p.noise_multiplier:.3f}, {p.steps} steps",
            )
        )
    rows += [
        ("queries", record.budget.queries),
        ("flags", ", ".join(record.flags) or "none"),
        ("attack says", record.attack.info or "nothing"),
        ("recorded", record.created_utc),
        ("folder", store.path("attack", record.nodes["attack"])),
    ]
    if record.error is not None and record.error.traceback:
        rows.append(("traceback", "\n" + record.error.traceback))
    for label, value in rows:
        click.echo(f"{label:22} {value}")
