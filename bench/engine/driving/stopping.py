"""Ctrl-C and a polite kill end a run; while the driver writes, they wait for a moment."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.contract import UserError

_LOG = logging.getLogger(__name__)
_AGAIN_S = 0.1
"""Seconds after which a signal is sent again that came at a wrong moment."""


def _nothing(signal_number: int, *_: Any) -> None:
    """Not SIG_IGN, which programs that are started would take over."""


class Stop:
    """What ends a run from outside."""

    def __init__(self) -> None:
        self._asked = False
        self._held = False
        self._late = False

    def __call__(self, signal_number: int, *_: Any) -> None:
        """Handle a signal: at once, or after what must not be cut, the import of PyTorch included.

        A second Ctrl-C is always handled at once; a second polite kill changes nothing, for the
        report that is written last is short and wanted.

        Raises:
            KeyboardInterrupt: at once.
        """
        if self._asked and signal_number == signal.SIGTERM:
            return
        if _half_loaded("torch"):
            words = (os.getpid(), signal_number)
            again = threading.Timer(_AGAIN_S, os.kill, words)
            again.daemon = True
            again.start()
            return
        first, self._asked = not self._asked, True
        if not (self._held and first):
            raise KeyboardInterrupt
        self._late = True

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """What is done inside is done to its end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._late:
            self._late = False
            raise KeyboardInterrupt

    @contextmanager
    def listening(self, to_the_end: bool = False) -> Iterator[None]:
        """Let SIGINT and SIGTERM stop the run.

        Only the main thread may say so: a run that a notebook or a server starts in another one is
        stopped by who started it.

        Args:
            to_the_end: whether the process ends afterwards. Where it was stopped, further polite
                kills then do not change its exit code while Python clears away.

        Raises:
            KeyboardInterrupt: also instead of an error that comes after a signal: libraries make
                errors of their own of an interrupt.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old = {name: signal.signal(name, self) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if not self._asked:
                raise
            _LOG.info("After the run was stopped:", exc_info=error)
            raise KeyboardInterrupt from error
        finally:
            for handler in old.values():
                if isinstance(handler, Stop):  # that of the command whose run this is
                    handler._asked = handler._asked or self._asked
            if to_the_end and self._asked:
                old[signal.SIGTERM] = _nothing
            for name, handler in old.items():
                # None: it was set outside Python, and cannot be set from here.
                signal.signal(name, signal.SIG_DFL if handler is None else handler)


def _half_loaded(module: str) -> bool:
    """Whether a module is being imported now.

    PyTorch loads NumPy in a way that loses an exception and leaves half of NumPy behind.
    """
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))
