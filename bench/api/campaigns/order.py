"""What is to be attacked, and the words that a run of it is composed of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contract.errors import nearest, require

ABSENT = "-"
"""A model that is not here: all that can be done is to write what would be asked."""


@dataclass(frozen=True)
class Order:
    """What is to be attacked, with what, and how.

    Attributes:
        model: path of a file, address of an endpoint, or ``package.module:function``; ``-``: it is
            not here.
        card: card of the table, or the words of a data set of another kind, such as
            ``dataset=faces``.
        members: table of the records that the model was trained on; None: the card says it, or
            nobody knows.
        holdout: table of others from the same population; None: the card says it.
        public: table of what an attacker holds; None: the card says it, or a part of ``holdout``.
        access: what an attacker gets: ``labels``, ``scores`` or ``weights``.
        budget: most records that are sent to an endpoint.
        campaign: its name; empty: today's date. The same name goes on where it stopped.
        tier: bars of the policy for a class of data.
        bars: bars of one's own instead: ``tau``, ``mu`` and ``loss``.
        policy: name or path of a policy.
        seeds: of the attacks.
        victims: most people, and as many others, who are attacked in a seed.
        architecture: of a file of weights: a model option, such as ``mlp``.
        like: a model option that an attacker trains as a model like it; empty: guessed.
        options: further options of ``model.external``, by name.
        retrain: command that trains the model again, with ``{seed}`` and ``{out}``; empty: none.
        copies: how many retrained copies are attacked.
        stand_in: a model option that is trained here behind defenses of training; empty: none.
        against: name of an earlier campaign, or its ``redteam.json``.
        authorised: whether you may attack an endpoint on another machine.
        asks: file for the records that the campaign will ask, for a model that is not here; None:
            none is written.
    """

    model: str
    card: str
    members: Path | None = None
    holdout: Path | None = None
    public: Path | None = None
    access: str = "scores"
    budget: int | None = None
    campaign: str = ""
    tier: str = ""
    bars: Mapping[str, float] = field(default_factory=dict)
    policy: str = "default"
    seeds: int = 3
    victims: int = 500
    architecture: str = ""
    like: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    retrain: str = ""
    copies: int = 3
    stand_in: str = ""
    against: str = ""
    authorised: bool = False
    asks: Path | None = None


def place_of(model: str) -> dict[str, str]:
    """Where the model is: ``path``, ``url`` or ``function``."""
    if model == ABSENT:
        return {"function": "bench.models.external.rehearsal:scores"}
    if model.startswith(("http://", "https://")):
        from bench.models.external.http.endpoint import check_url

        check_url(model)
        return {"url": model}
    path = Path(model)
    module, colon, name = model.partition(":")
    dotted = bool(colon) and name.isidentifier() and module.replace(".", "_").isidentifier()
    if path.exists() or "/" in model or (path.suffix and not dotted):
        require(
            path.is_file(),
            f"--model: there is no file '{model}'; give a file, an address (http://...) or "
            "package.module:function.",
        )
        return {"path": str(path.resolve())}
    require(
        ":" in model,
        f"--model: '{model}' is not there; give a file, an address (http://...) or "
        "package.module:function.",
    )
    return {"function": model}


def model_of(order: Order, name: str, place: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Options of ``model.external`` that follow from the order."""
    model: dict[str, Any] = {**place, "access": order.access}
    if "function" in place and order.model != ABSENT:
        model["campaign"] = name  # what it answers may change without its code
    if order.architecture:
        model["architecture"] = option(order.architecture)
    if "url" in place:
        model |= {
            "budget": order.budget,
            "authorised": order.authorised,
            "campaign": name,
            "transcript": str((folder / "transcript.sqlite").resolve()),
        }
    return model


def option(name: str) -> dict[str, Any]:
    """The config of a built-in model option.

    Raises:
        UserError: there is none of that name.
    """
    from bench.engine.conf import list_options, read_option

    known = list_options("model")
    require(name in known, f"There is no model option '{name}'.{nearest(name, known)}")
    return read_option("model", name)


def data_words(order: Order, folder: Path) -> list[str]:
    """Overrides that name the records; a card with files of its own is written to ``folder``."""
    import yaml

    from bench.contract.documents import read_yaml
    from bench.decide.document import save
    from bench.engine.overrides import quoted

    own = {"members": order.members, "holdout": order.holdout, "public": order.public}
    if order.card.startswith("dataset="):
        require(
            not any(own.values()),
            f"--card is '{order.card}', whose records come with it; leave --members, --holdout and "
            "--public out.",
        )
        return [order.card]
    files = {part: str(path.resolve()) for part, path in own.items() if path is not None}
    card = Path(order.card)
    if files:
        require(
            "holdout" in files,
            "--holdout is missing; give records from the same population that the model was not "
            "trained on, or of which nobody knows whether it was.",
        )
        for part, file in files.items():
            require(Path(file).is_file(), f"--{part}: there is no file '{file}'; name one.")
        content = read_yaml(card, "Table card")
        require(isinstance(content, dict), f"Table card '{card}' holds no keys; write them.")
        content.pop("split", None)
        card = folder / "card.yaml"
        save(card, yaml.safe_dump({**content, "files": files}, sort_keys=False))
    return ["dataset=table", f"dataset.table.card={quoted(str(card.resolve()))}"]


def model_words(model: Mapping[str, Any]) -> list[str]:
    """Overrides that say what the model is."""
    return [
        "model=external",
        *(f"model.external.{key}={_written(value)}" for key, value in model.items()),
    ]


def _written(value: Any) -> str:
    """A value in Hydra's grammar."""
    from bench.engine.overrides import quoted

    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def plugin_words(place: Mapping[str, Any]) -> list[str]:
    """The package of a function, as one whose code options may name."""
    if "function" not in place:
        return []
    package = place["function"].partition(":")[0].partition(".")[0]
    return [] if package in ("bench", "attacks", "defenses") else [f"plugins=[{package}]"]
