"""The log file of a run: everything that the loggers below ``bench`` say while it goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contract.secrets import redacted

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class Redacting(logging.Formatter):
    """Leaves credentials out of what is logged, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without credentials."""
        return redacted(super().format(record))


class _Level:
    """Lets the logger through at level INFO as long as a run of this process goes on."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger, self._lock = logger, threading.Lock()
        self._runs, self._raised = 0, False

    def __enter__(self) -> None:
        with self._lock:
            self._runs += 1
            if self._logger.level == logging.NOTSET:  # else somebody has set it on purpose
                self._logger.setLevel(logging.INFO)
                self._raised = True

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._runs -= 1
            if self._raised and not self._runs:
                self._logger.setLevel(logging.NOTSET)
                self._raised = False


_LOGGER = logging.getLogger("bench")
_LEVEL = _Level(_LOGGER)


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Write to ``path`` what this thread logs; other runs of this process have files of their own.

    The logger ``bench`` lets through what is told at level INFO, unless its level was set before.
    """
    here = threading.get_ident()
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(Redacting(_FORMAT))
    handler.addFilter(lambda record: record.thread == here)
    with _LEVEL:
        _LOGGER.addHandler(handler)
        try:
            yield
        finally:
            _LOGGER.removeHandler(handler)
            handler.close()
