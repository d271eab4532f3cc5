"""A model that somebody else trained, as the target of a benchmark."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from annotated_types import Gt
from torch import Tensor

from bench.contract import (
    Access,
    Card,
    Count,
    CountOrZero,
    Model,
    Network,
    Positive,
    Recipe,
    Task,
    UserError,
    common_task,
    require,
)
from bench.contract.secrets import redacted
from bench.contract.task import TASKS
from bench.models.external.files.kinds import ENDINGS, kind_of
from bench.models.external.http.endpoint import Channel, check_url, loopback
from bench.models.external.network import GivenNetwork, Pixels, Prepared
from bench.models.external.opened import Opened
from bench.models.external.outputs import Meaning

_ONE_PLACE = (
    "model.external needs exactly one of path=FILE, url=ADDRESS and function=package.module:name."
)


@dataclass(frozen=True)
class External(Model):
    """A model that was trained elsewhere: a file, an endpoint or a Python function.

    It is never trained again: no defense can act on its training. Every release and serve defense
    can be put before it. One of ``path``, ``url`` and ``function`` says where it is.

    Attributes:
        name: what boards call it; empty: after its file or address.
        path: a file: ``.onnx``; ``.safetensors``, ``.pt``, ``.pth`` or ``.bin`` with the weights of
            an ``architecture``; ``.pt2`` of ``torch.export``; ``.skops`` of scikit-learn; ``.csv``
            or ``.parquet`` with the model's answers to the records. Pickles are never opened.
        url: an HTTP endpoint.
        function: ``package.module:name`` of a Python function from records to scores or labels.
        task: what it predicts, where the data offers several: ``classification``, ``regression`` or
            ``recommendation``; ``auto``: the first of them that the data offers.
        access: what an attacker gets: ``labels``, ``scores`` or ``weights``.
        answers: what the model answers: ``probabilities``, ``logits`` or ``labels``; ``auto`` finds
            it out from its first answers.
        classes: the card's classes in the order of the model's scores, or what the model calls each
            of them in its labels; empty: as the model says, or else as the card has them.
        output: the output that holds the scores, where the model has several.
        architecture: the model whose weights the file holds, as an option of it.
        shadows: a model like it, which an attacker trains who knows how it was made; null: its
            ``architecture``, or else nobody knows.
        trust: types in a ``.skops`` file that you have looked at and trust.
        prediction: columns of a ``.csv`` or ``.parquet`` file that hold the answers.
        white: value of a white pixel, 1 or 255.
        mean: of each channel of a picture, which the model expects to be subtracted.
        std: of each channel, which it expects to be divided by.
        protocol: how the endpoint is asked: ``kserve`` (Open Inference Protocol V2), ``mlflow``
            (``/invocations``) or ``template``; ``auto`` sees it from the address.
        served_as: name of the model at its server.
        request: of a ``template``: JSON with ``"$records"`` or ``"$record"`` in it.
        response: of a ``template``: JSON path of the answers.
        fresh: whether the endpoint may answer the same record differently, so that it is asked
            again each time that an attack asks it.
        campaign: a word for the time in which the endpoint or function is asked. Its answers are
            kept under it: what is behind a name may change, so another campaign asks anew.
        headers: header to the environment variable that holds its value.
        timeout_s: seconds to wait for an answer.
        retries: times that a request is sent again which got no answer.
        rate_per_s: most records that are sent in a second; null: no limit.
        batch: most records in a request.
        budget: most records that are sent in a campaign.
        authorised: whether you may attack an endpoint on another machine.
        verify: whether the certificate of the endpoint is checked, or a file of certificates.
        transcript: file of what was asked and answered.
    """

    name: str = ""
    path: str | None = None
    url: str | None = None
    function: str | None = None
    task: Literal["auto", "classification", "regression", "recommendation"] = "auto"
    access: Literal["labels", "scores", "weights"] = "scores"
    answers: Literal["auto", "probabilities", "logits", "labels"] = "auto"
    classes: tuple[str, ...] = ()
    output: str | None = None
    architecture: Model | None = None
    shadows: Model | None = None
    trust: tuple[str, ...] = ()
    prediction: tuple[str, ...] = ()
    white: Positive = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[Annotated[float, Gt(0)], ...] = ()
    protocol: Literal["auto", "kserve", "mlflow", "template"] = "auto"
    served_as: str | None = None
    request: str | None = None
    response: str | None = None
    fresh: bool = True
    campaign: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: Positive = 60.0
    retries: CountOrZero = 4
    rate_per_s: Positive | None = None
    batch: Count = 64
    budget: Count | None = None
    authorised: bool = False
    verify: bool | str = True
    transcript: str | None = None

    given = True
    modalities = frozenset({"image", "table", "basket"})
    reference = "boosting"
    incidental = frozenset(
        {
            "headers",
            "timeout_s",
            "retries",
            "rate_per_s",
            "batch",
            "budget",
            "authorised",
            "verify",
            "transcript",
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self._places) <= 1, _ONE_PLACE)
        if self.path is not None:
            weights = self._kind in ("safetensors", "state")
            require(
                weights == (self.architecture is not None),
                f"model.external.path is '{self.path}': "
                + (
                    "it holds weights alone; say of which model with model.external.architecture="
                    "{_target_: bench.models.mlp.Mlp, hidden: [64]}, or with a class of your own."
                    if weights
                    else "only a file of weights (.safetensors, .pt, .pth, .bin) has an "
                    "'architecture'."
                ),
            )
        require(
            self.architecture is None
            or (self.classes, self.answers, self.output) == ((), "auto", None),
            "Weights of an architecture answer logits of the card's classes in its order, so "
            "model.external.classes, answers and output say nothing here; leave them out, and let "
            "'classes' in the card be in the order of the weights.",
        )
        if self.url is not None:
            check_url(self.url)
        require(
            self.url is None or (self.budget is not None and self.transcript is not None),
            "model.external.url is asked for real: say with model.external.budget how many records "
            "may be sent, and with model.external.transcript in which file answers are kept.",
        )
        require(
            self.url is None or self.authorised or loopback(self.url),
            f"model.external.url is '{self.url}', on another machine: attack only what you own or "
            "are allowed to, and say so with model.external.authorised=true.",
        )
        require(
            self.access != "weights" or self._differentiable or self.architecture is not None,
            "model.external.access is 'weights', which only a file of a network gives: .onnx or "
            ".pt2, or weights with their architecture; use 'scores' or 'labels'.",
        )

    @property
    def _places(self) -> list[str]:
        """What says where it is; empty: it is an option that is only listed."""
        return [place for place in (self.path, self.url, self.function) if place is not None]

    @property
    def _kind(self) -> str | None:
        """What its file is by its ending."""
        return ENDINGS.get(Path(self.path or "").suffix.lower())

    @property
    def _differentiable(self) -> bool:
        """Whether its file holds a whole network."""
        return self._kind in ("onnx", "program")

    @property
    def _meant(self) -> Meaning | Literal["auto"]:
        """What its answers are taken for."""
        return "labels" if self.access == "labels" else self.answers

    @property
    def recipe(self) -> Recipe:
        """A recipe that says nothing, since there is no training."""
        return Recipe(epochs=1, batch_size=1, lr=1.0)

    @property
    def called(self) -> str:
        """Its own name, or that of its file, server or function.

        Raises:
            UserError: nothing says where it is, so that it cannot be attacked.
        """
        require(len(self._places) == 1, _ONE_PLACE)
        if self.url is not None:
            parts = urlsplit(self.url)
            _, _, model = parts.path.partition("/models/")
            own = self.served_as or model.partition("/")[0] or parts.netloc.rpartition("@")[2]
        else:
            own = Path(self.path).stem if self.path else str(self.function)
        return self.name or own.replace(":", "-")

    @property
    def tasks(self) -> tuple[Task, ...]:  # type: ignore[override]
        """The option ``task``, or those of its architecture, or any."""
        if self.task != "auto":
            return (self.task,)
        return TASKS if self.architecture is None else self.architecture.tasks

    @property
    def exposes(self) -> Access:
        """As the option ``access`` says."""
        return self.access

    @property
    def counted(self) -> bool:
        """Whether it is an endpoint."""
        return self.url is not None

    @property
    def alike(self) -> Model | None:
        """What the attacker trains who trains models like it."""
        return self.shadows or self.architecture

    @property
    def offers(self) -> frozenset[str]:  # type: ignore[override]
        """What its architecture offers, or a gradient where its file holds a whole network."""
        if self.architecture is not None:
            return self.architecture.offers - {"steps"}
        if self.access == "weights" and self._differentiable:
            return frozenset({"descent"})
        return frozenset()

    def files(self, data_root: Path | None) -> Mapping[str, Path | Sequence[Path]]:
        """The model's file; see the base class."""
        return {} if self.path is None else {"path": Path(self.path)}

    @property
    def imports(self) -> tuple[str, ...]:
        """The module of the function; see the base class."""
        return () if self.function is None else (self.function.partition(":")[0],)

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """Its architecture, freshly initialised.

        Raises:
            UserError: it has none, so that only :meth:`network` can make one.
        """
        require(
            self.architecture is not None,
            f"'{self.called}' has no architecture of its own; a card is needed to ask it.",
        )
        assert self.architecture is not None
        return self.architecture.build(shape, width, seed)

    def network(self, card: Card, width: int, seed: int) -> Network:
        """A network that knows nothing yet: :meth:`solve` opens the model."""
        pixels = Pixels(self.white, self.mean, self.std)
        if self.architecture is not None:
            require(
                not card.raw,
                f"'{self.called}' is weights of an architecture, which reads records as they are "
                "encoded here; take 'preprocessing: model' out of the data's card.",
            )
            network = self.architecture.network(card, width, seed)
            if pixels != Pixels():
                network.front = Prepared(pixels)
            return network
        task = common_task(card.tasks, self.tasks)
        assert task is not None
        return GivenNetwork(card, task, partial(self._opened, card), pixels)

    def solve(self, network: Network, x: Tensor, target: Tensor, recipe: Recipe, seed: int) -> None:
        """Open the model, and try it on the first of the records ``x``.

        Raises:
            UserError: it cannot be opened, or does not fit the data.
        """
        content = self._content()
        if self.architecture is not None:
            from bench.models.external.files.state import fit_state, open_state

            assert self.path is not None
            kind_of(Path(self.path), content)
            state, note = fit_state(open_state(content, self.called), network, self.called)
            network.load_state_dict(state, strict=True)
            network.facts = {**_digest(content), **({"note": note} if note else {})}
            return
        assert isinstance(network, GivenNetwork)
        network.open(content, x, self._meant, self.classes)
        require(
            self.access == "labels" or network.facts["answers"] != "labels",
            f"'{self.called}' answers labels alone, and model.external.access is '{self.access}'; "
            "set it to 'labels' (with invbench redteam: --access labels), or name the output that "
            "holds its scores.",
        )
        if self.path is not None:
            network.facts = {**network.facts, **_digest(content)}

    def _content(self) -> bytes:
        """What the model is known by: its file, or what names it."""
        if self.path is not None:
            return _read(Path(self.path))
        place = {"url": redacted(self.url or ""), "function": self.function}
        return json.dumps(place | {"campaign": self.campaign}).encode()

    def _opened(self, card: Card, content: bytes) -> Opened:
        if self.url is not None:
            from bench.models.external.http.endpoint import open_endpoint

            assert self.transcript is not None
            return open_endpoint(self.channel, Path(self.transcript))
        if self.function is not None:
            from bench.models.external.function import open_function

            return open_function(self.function)
        assert self.path is not None
        return self._opened_file(Path(self.path), card, content)

    def _opened_file(self, path: Path, card: Card, content: bytes) -> Opened:
        kind = kind_of(path, content)
        if kind == "onnx":
            from bench.models.external.files.onnx_file import open_onnx

            return open_onnx(content, path.name, self.output, self.access == "weights")
        if kind == "program":
            from bench.models.external.files.program import open_program

            return open_program(content, path.name)
        if kind == "skops":
            from bench.models.external.files.skops_file import open_skops

            return open_skops(content, path.name, self.trust, self._meant == "labels")
        assert kind == "predictions", kind
        from bench.models.external.files.predictions import open_predictions

        columns = {column.name: column.kind for column in card.fields if column.name in card.raw}
        ordered = {name: columns[name] for name in card.raw}
        return open_predictions(
            content, path.suffix.lower(), path.name, ordered, list(self.prediction) or None
        )

    @property
    def channel(self) -> Channel:
        """How its endpoint is asked."""
        assert self.url is not None and self.budget is not None
        return Channel(
            url=self.url,
            protocol=self.protocol,
            model=self.served_as or "",
            request=self.request or "",
            response=self.response or "",
            output=self.output or "",
            headers=self.headers,
            timeout_s=self.timeout_s,
            retries=self.retries,
            rate_per_s=self.rate_per_s,
            batch=self.batch,
            budget=self.budget,
            verify=self.verify,
            fresh=self.fresh,
            campaign=self.campaign,
        )


def _digest(content: bytes) -> dict[str, str]:
    """The digest of a model's file, by which whoever releases it can name it."""
    return {"file_sha256": hashlib.sha256(content).hexdigest()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"The model '{path}' cannot be read ({error.strerror}); give a file that is there."
        ) from error
