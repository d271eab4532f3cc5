"""A clock that jumps: Python imports this by itself where the folder is on its path.

The file that ``INVBENCH_CHAOS_CLOCK`` names holds how many seconds the clock is ahead. The time of
day in Python and what the harness reads of ``datetime`` follow it. What Ray and other compiled code
read stays as it is; so do monotonic clocks, as on a real machine.
"""

import builtins
import contextlib
import datetime
import os
import time
from pathlib import Path
from types import SimpleNamespace

_PLACE = os.environ.get("INVBENCH_CHAOS_CLOCK", "")
_LOOKS_EVERY_S = 0.2
_time, _time_ns, _import = time.time, time.time_ns, builtins.__import__
_known = [-_LOOKS_EVERY_S, 0.0]


def _ahead() -> float:
    now = time.monotonic()
    if now - _known[0] >= _LOOKS_EVERY_S:
        with contextlib.suppress(OSError, ValueError):
            _known[:] = [now, float(Path(_PLACE).read_text())]
    return _known[1]


class _Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(time.time(), tz)


def _importing(name, globals=None, locals=None, fromlist=(), level=0):
    module = _import(name, globals, locals, fromlist, level)
    ours = str((globals or {}).get("__name__", "")).startswith("bench.")
    if name == "datetime" and ours:
        return SimpleNamespace(**{**vars(module), "datetime": _Jumping})
    return module


if _PLACE:
    time.time = lambda: _time() + _ahead()
    time.time_ns = lambda: _time_ns() + int(_ahead() * 1e9)
    builtins.__import__ = _importing
