"""Find a trial in the store by the beginning of its identity or by its cell."""

from __future__ import annotations

from typing import Any

from bench.contract import UserError
from bench.contract.record import TrialRecord
from bench.engine.store import Store
from bench.engine.tracking import stored


def trial(store: Store, name: str) -> tuple[TrialRecord, dict[str, Any] | None]:
    """The newest trial that ``name`` names, and the newest execution it belongs to.

    Args:
        store: where to look.
        name: the beginning of a trial's identity, or ``dataset/model/defense/attack/seed``.

    Raises:
        UserError: none or several.
    """
    found = None
    for manifest in store.executions():
        keys = [
            key
            for key, cell in manifest["trials"].items()
            if cell == name or ("/" not in name and key.startswith(name))
        ]
        for key in keys:
            record = stored(store, key)
            if record is not None:
                if len(keys) > 1:
                    raise UserError(
                        f"'{name}' begins {len(keys)} trials of {manifest['suite']}; "
                        f"give more of it."
                    )
                return record, manifest
            found = manifest["trials"][key]
    if found is not None:
        raise UserError(
            f"Trial '{found}' is planned and has no record that can be read: it has not ended, or "
            "its record is damaged or gone; the command of its run, which 'invbench status' shows, "
            "makes it."
        )
    raise UserError(
        f"There is no trial '{name}' in store '{store.root}'; 'invbench plan --trials' lists "
        f"identities and cells, store= names another store."
    )
