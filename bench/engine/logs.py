"""The log file of a run: everything that the loggers below ``bench`` say while it goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Write to ``path`` what this thread logs; other runs of this process have files of their own.

    The logger ``bench`` lets through what is told at level INFO, unless its level was set before.
    """
    logger, here = logging.getLogger("bench"), threading.get_ident()
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.addFilter(lambda record: record.thread == here)
    unset = logger.level == logging.NOTSET
    if unset:
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
        if unset:
            logger.setLevel(logging.NOTSET)
