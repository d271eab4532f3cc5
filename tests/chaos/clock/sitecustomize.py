"""A clock that jumps: Python imports this by itself where the folder is on its path.

The file that ``INVBENCH_CHAOS_CLOCK`` names holds how many seconds the clock is ahead. What Ray
itself reads of the clock, in C++, stays as it is; so do monotonic clocks, as on a real machine.
"""

import contextlib
import datetime
import os
import time
from pathlib import Path

_PLACE = os.environ.get("INVBENCH_CHAOS_CLOCK", "")
_LOOKS_EVERY_S = 0.2
_time, _time_ns, _monotonic = time.time, time.time_ns, time.monotonic
_original = datetime.datetime
_known = [-_LOOKS_EVERY_S, 0.0]


def _ahead() -> float:
    now = _monotonic()
    if now - _known[0] >= _LOOKS_EVERY_S:
        with contextlib.suppress(OSError, ValueError):
            _known[:] = [now, float(Path(_PLACE).read_text())]
    return _known[1]


class _Jumping(_original):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


_Jumping.__name__ = _Jumping.__qualname__ = "datetime"
_Jumping.__module__ = "datetime"
if _PLACE:
    time.time = lambda: _time() + _ahead()
    time.time_ns = lambda: _time_ns() + int(_ahead() * 1e9)
    datetime.datetime = _Jumping  # type: ignore[misc]
