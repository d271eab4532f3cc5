"""What must be known of figures of one model that was given, in sentences (PROTOCOL 8.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.decide.deployed import Artifact
from bench.decide.figures import Measured

GIVEN = (
    "Figures are of the model itself, and intervals over people. No defense that acts at training "
    "was measured, as the model was given and not trained here."
)


def limits(measured: Sequence[Measured], artifact: Artifact | None = None) -> Iterator[str]:
    """What qualifies the figures.

    Args:
        measured: rows.
        artifact: what is released, where that is known.
    """
    alone = [m for m in measured if m.single]
    if not alone:
        return
    yield (
        "Figures are of the one model that was given, and their intervals over people who are like "
        "those attacked: a model that is trained again is another one."
    )
    if artifact is not None and artifact.url is not None:
        yield (
            "The model is known by its address alone: nobody can tell whether what answers there "
            "today is what was attacked."
        )
    if any(not m.members_known for m in alone):
        yield "Nobody knows whom the model was trained on, so M was not judged; L was."
    for m in alone:
        if "nothing_shown" in m.flags:
            yield (
                f"{m.where[:1].upper()}{m.where[1:]}: no leakage is shown by {len(m.met)} attacks, "
                "the standard set among them; the upper end of the interval is "
                f"{m.judged_L[1].hi:.2f}. A stronger attack may find something."
            )


def steps(measured: Sequence[Measured]) -> Iterator[str]:
    """What to do where nothing qualifies that a model which is trained here does not need."""
    alone = [m for m in measured if m.single]
    if any(not m.members_known for m in alone):
        yield (
            "Say whom the model was trained on, as 'members' of the table: without that M cannot "
            "be judged."
        )
    if alone:
        yield (
            "Train it with a defense: none that acts at training was measured, as the model was "
            "given. Measure those on a model like it with 'invbench run'."
        )
