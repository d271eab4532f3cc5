"""How much of a deployed model an attacker sees."""

from __future__ import annotations

from typing import Literal

Access = Literal[
    "none", "labels", "scores", "weights", "deletions", "gradients", "malicious_server"
]
ACCESS_ORDER: tuple[Access, ...] = (
    "none",
    "labels",
    "scores",
    "weights",
    "deletions",
    "gradients",
    "malicious_server",
)
"""From least to most: an attacker with more may simulate one with less, but for ``deletions``.

``deletions`` sees the network once more after each of some people had a record deleted; who sees
the training protocol sees none of that, and the other way round. ``gradients`` observes the
training protocol: a client's updates, and with them the weights they were computed at.
``malicious_server`` also chooses the weights that the clients compute their updates at, in every
round and, if it likes, for every client; an honest server sends those that training gave.
"""


def at_least(access: Access, wanted: Access) -> bool:
    """Whether ``access`` offers everything that ``wanted`` does."""
    if "deletions" in (access, wanted) and access != wanted:
        return access == "deletions" and at_least("weights", wanted)
    return ACCESS_ORDER.index(access) >= ACCESS_ORDER.index(wanted)
