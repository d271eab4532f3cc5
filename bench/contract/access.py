"""How much of a deployed model an attacker sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bench.contract.names import Heading

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


ACCESS: Mapping[str, Heading] = {
    "none": Heading("nothing of the model", "The attacker has public records alone."),
    "labels": Heading(
        "labels",
        "The deployment answers with a label and nothing else; a recommender with the list it "
        "shows.",
    ),
    "scores": Heading(
        "scores",
        "The deployment answers with the scores of all classes, as released; a regression with "
        "the number it predicts.",
    ),
    "weights": Heading("the weights", "The attacker holds the model."),
    "deletions": Heading(
        "the weights before and after deletions",
        "The attacker holds the model, and the model after each of several people had a record "
        "deleted.",
    ),
    "gradients": Heading(
        "shared updates",
        "The attacker sees the updates that clients share in training, and the global weights.",
    ),
    "malicious_server": Heading(
        "shared updates, and chooses the weights",
        "The attacker is the server: it sees the updates and chooses the weights that clients "
        "compute them at.",
    ),
}
"""What an attacker with each access sees, as the end of "The attacker sees ...", and a sentence."""


def at_least(access: Access, wanted: Access) -> bool:
    """Whether ``access`` offers everything that ``wanted`` does."""
    if "deletions" in (access, wanted) and access != wanted:
        return access == "deletions" and at_least("weights", wanted)
    return ACCESS_ORDER.index(access) >= ACCESS_ORDER.index(wanted)
