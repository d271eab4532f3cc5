"""A given model in the shape of a network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.contract import Card, Network, Task, require
from bench.contract.rows import rows_of
from bench.models.external.detected import detected
from bench.models.external.opened import Inputs, Opened
from bench.models.external.outputs import MEANINGS, Meaning, Reading, read_as

_TRIED = 200
"""Records that a model is tried on when it is opened."""


@dataclass(frozen=True)
class Pixels:
    """What a model expects of a picture.

    Attributes:
        largest: value of a white pixel.
        mean: of each channel, subtracted after that; empty: 0.
        std: of each channel, divided by after that; empty: 1.
    """

    largest: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        """Pictures ``[n, channels, height, width]`` as the model expects them."""
        x = x * self.largest if self.largest != 1.0 else x
        for values, change in ((self.mean, torch.sub), (self.std, torch.div)):
            if values:
                x = change(x, torch.tensor(values, dtype=x.dtype, device=x.device)[:, None, None])
        return x


class Prepared(nn.Module):
    """:class:`Pixels` as a layer."""

    def __init__(self, pixels: Pixels) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, x: Tensor) -> Tensor:
        """Pictures as the model expects them."""
        return self.pixels(x)


class GivenNetwork(Network):
    """A model that is asked, or a differentiable module.

    Its state is the content of its file, and how its answers are read. Until it has a state it
    answers the same for every record: it knows nothing of anybody.

    Args:
        card: of the data.
        task: what it predicts.
        opener: opens the model from the content of its file.
        pixels: what it expects of pictures.
    """

    def __init__(
        self, card: Card, task: Task, opener: Callable[[bytes], Opened], pixels: Pixels
    ) -> None:
        width = card.width(task)
        super().__init__(nn.Sequential(), _identity(width))
        self._card, self._task, self._width = card, task, width
        self._opener, self._pixels = opener, pixels
        self._opened: list[Opened] = []
        self._reading: Reading | None = None
        self._state: dict[str, Tensor] = {}
        self.module: nn.Module | None = None

    def open(
        self, content: bytes, x: Tensor, meant: Meaning | Literal["auto"], classes: tuple[str, ...]
    ) -> None:
        """Open the model and find out how its answers are read, from the first records of ``x``.

        Raises:
            UserError: it cannot be opened, or does not fit the data.
        """
        opened = self._opener(content)
        asked = self._inputs(x[:_TRIED])
        answered = opened.ask(asked)
        require(
            opened.module is None or not self._card.raw,
            "Gradients of a model with preprocessing of its own (card: 'preprocessing: model') are "
            "not those of the encoded record; attack it with access 'scores' or 'labels'.",
        )
        named = answered.classes or opened.classes
        reading = read_as(answered, self._card, self._task, meant, classes, named)
        self._state = {
            "content": torch.frombuffer(bytearray(content or b"\0"), dtype=torch.uint8),
            "meaning": torch.tensor(MEANINGS.index(reading.meaning)),
            "order": torch.tensor(reading.order, dtype=torch.long),
            "names": torch.frombuffer(
                bytearray("\0".join(reading.names).encode() or b"\0"), dtype=torch.uint8
            ),
        }
        self._use(opened, reading)
        self.facts = {
            **opened.facts,
            **detected(answered),
            "answers": reading.meaning,
            "class_names": list(classes or named),
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> GivenNetwork:
        """A copy with parameters of its own; what asks the model is shared."""
        twin = GivenNetwork(self._card, self._task, self._opener, self._pixels)
        twin._opened, twin._reading, twin._state = self._opened, self._reading, self._state
        twin.facts, twin.module = self.facts, copy.deepcopy(self.module, memo)
        twin.head = copy.deepcopy(self.head, memo)
        return twin.train(self.training)

    def _use(self, opened: Opened, reading: Reading) -> None:
        self._opened, self._reading, self.module = [opened], reading, opened.module

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Open the model from its content; without one it stays a network that knows nothing."""
        self._state = dict(state_dict)
        if not state_dict:
            return None
        opened = self._opener(state_dict["content"].cpu().numpy().tobytes())
        names = state_dict["names"].cpu().numpy().tobytes().decode().strip("\0")
        meaning = MEANINGS[int(state_dict["meaning"])]
        order = tuple(state_dict["order"].tolist())
        named = tuple(names.split("\0")) if names else ()
        self._use(opened, Reading(self._card, self._task, meaning, order, named))
        return None

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The content of the model's file, and how its answers are read."""
        return dict(self._state)

    def features(self, x: Tensor) -> Tensor:
        """Raw outputs: a model that was given has no layers that anybody knows."""
        if self._reading is None:
            return x.flatten(1)[:, :1] * 0.0 + x.new_zeros(1, self._width)
        if self.module is not None:
            scores: Tensor = self.module(self._pixels(x) if x.dim() == 4 else x)
            return self._reading.differentiable(scores.reshape(len(x), -1))
        if not len(x):
            return x.new_zeros(0, self._width)
        return self._reading.outputs(self._opened[0].ask(self._inputs(x))).to(x.device)

    def _inputs(self, x: Tensor) -> Inputs:
        if self._card.raw:
            return rows_of(self._card, x)
        values = self._pixels(x) if x.dim() == 4 else x
        return np.ascontiguousarray(values.detach().cpu().numpy(), dtype=np.float32)


def _identity(width: int) -> nn.Linear:
    """A head that changes nothing and has no parameters."""
    head = nn.Linear(width, width)
    del head.weight, head.bias
    head.register_buffer("weight", torch.eye(width), persistent=False)
    head.register_buffer("bias", torch.zeros(width), persistent=False)
    return head
