"""Which driver works on what: claims that die with their driver."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from bench.contract.errors import UserError
from bench.engine.store.database import Database
from bench.engine.store.process import gone, here

LEASE_S = 30.0
"""Seconds after which a driver on another machine whose beats stand still counts as dead."""
BEAT_S = 3.0
"""Seconds between two beats."""


class Claims:
    """One driver's claims, and what it has seen of the others.

    Args:
        database: of the store.
        driver: name of the driver; no two have the same.
    """

    def __init__(self, database: Database, driver: str) -> None:
        self._database, self._driver = database, driver
        self._beats = 0
        self._seen: dict[str, tuple[int, float]] = {}
        """Driver to its last beat and when that was first seen, on this machine's own clock."""

    def open(self) -> None:
        """Register the driver."""
        with self._database.transaction(durable=False):
            self._register()

    def beat(self) -> None:
        """Say that the driver lives; call it every few seconds."""
        self._beats += 1
        self.open()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Be registered, and say so every few seconds, however long a node keeps the driver."""
        self.open()
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_S):
                with suppress(UserError):  # a full disk may have room again at the next beat
                    self.beat()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(BEAT_S)
            with suppress(UserError):  # whoever finds the process gone takes the claims over
                self.close()

    def take(self, keys: Iterable[str]) -> set[str]:
        """Claim keys; one that a live driver holds is not given.

        Returns:
            Those that are this driver's now.
        """
        wanted = list(dict.fromkeys(keys))
        with self._database.transaction(durable=False):
            self._register()
            for dead in self._dead():
                self._database.write("DELETE FROM claims WHERE driver=?", (dead,))
                self._database.write("DELETE FROM drivers WHERE name=?", (dead,))
            held = self._holders(wanted)
            mine = [key for key in wanted if held.get(key, self._driver) == self._driver]
            new = [(key, self._driver) for key in mine if key not in held]
            if new:
                self._database.write_many("INSERT OR REPLACE INTO claims VALUES(?,?)", new)
        return set(mine)

    def release(self, keys: Iterable[str]) -> None:
        """Give claims up."""
        rows = [(key, self._driver) for key in keys]
        if rows:
            with self._database.transaction(durable=False):
                self._database.write_many("DELETE FROM claims WHERE key=? AND driver=?", rows)

    def elsewhere(self, keys: Iterable[str]) -> dict[str, str]:
        """Those keys that live drivers other than this one hold, with the driver's name."""
        held = self._holders(list(keys))
        dead = self._dead() if held else set()
        return {k: name for k, name in held.items() if name != self._driver and name not in dead}

    def close(self) -> None:
        """Give up everything and sign off."""
        with self._database.transaction(durable=False):
            self._database.write("DELETE FROM claims WHERE driver=?", (self._driver,))
            self._database.write("DELETE FROM drivers WHERE name=?", (self._driver,))

    # ------------------------------------------------------------ within
    def _register(self) -> None:
        row = (self._driver, json.dumps(here()), self._beats)
        self._database.write("INSERT OR REPLACE INTO drivers VALUES(?,?,?)", row)

    def _holders(self, keys: list[str]) -> dict[str, str]:
        """Holder of each key that has one who is registered."""
        sql = (
            "SELECT claims.key, driver FROM claims JOIN drivers ON name=driver "
            "WHERE claims.key IN (SELECT value FROM json_each(?))"
        )
        stored = self._database.read(sql, (json.dumps(keys),))
        return {_text(key): _text(driver) for key, driver in stored}

    def _dead(self) -> set[str]:
        """Other drivers that have ended without signing off."""
        sql = "SELECT name, process, beats FROM drivers"
        now = time.monotonic()
        seen: dict[str, tuple[int, float]] = {}
        dead = set()
        for name, process, beats in self._database.read(sql):
            driver = _text(name)
            last = self._seen.get(driver)
            seen[driver] = last if last is not None and last[0] == beats else (beats, now)
            if driver != self._driver and (
                now - seen[driver][1] > LEASE_S or gone(_parsed(process))
            ):
                dead.add(driver)
        self._seen = seen
        return dead


def _parsed(process: Any) -> Mapping[str, Any]:
    """What a driver wrote of itself; nothing where that is damaged."""
    try:
        value = json.loads(process)
    except (ValueError, TypeError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
