"""Weights that were given as a file: safetensors, or a state dictionary of torch.

A pickle can run any code when it is opened. ``torch.load(weights_only=True)`` reads tensors and
plain containers of a torch file and refuses everything else; safetensors holds nothing else.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from bench.contract import UserError, require
from bench.contract.secrets import in_one_line

_WRAPPED = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
"""What ``DataParallel`` and ``torch.compile`` put before every name."""
_COUNTER = "num_batches_tracked"
"""A counter of batch norm that changes no answer once training is over; old files lack it."""
_SHOWN = 5

State = dict[str, Tensor]


def is_safetensors(content: bytes) -> bool:
    """Whether a file begins like safetensors: the length of a header, then JSON."""
    return (
        len(content) > 9
        and content[8:9] == b"{"
        and 2 <= int.from_bytes(content[:8], "little") < 100_000_000
    )


def open_state(content: bytes, name: str) -> State:
    """The tensors of a file by their names.

    Args:
        content: of a safetensors file or of what ``torch.save(model.state_dict(), path)`` wrote. A
            checkpoint that holds it as ``state_dict``, ``model_state_dict`` or ``model`` is read
            too, and a common prefix ``module.`` is taken off.
        name: of the file, for messages.

    Raises:
        UserError: the file holds something else, or is damaged.
    """
    held = _safetensors(content, name) if is_safetensors(content) else _torch(content, name)
    for key in _WRAPPED:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
            break
    require(
        isinstance(held, Mapping) and len(held) > 0,
        f"{name} holds {_kind(held)} and no weights. Write them with "
        "torch.save(model.state_dict(), path) or safetensors.torch.save_file(model.state_dict(), "
        "path).",
    )
    wrong = [key for key, value in held.items() if not _plain(key, value)]
    require(
        not wrong,
        f"{name} holds more than named dense tensors: {_kind(held[wrong[0]]) if wrong else ''} "
        f"under {wrong[:1]!r}. Write the weights alone: torch.save(model.state_dict(), path).",
    )
    return _without_prefix({key: value.detach().clone() for key, value in held.items()})


def fit_state(state: Mapping[str, Tensor], network: nn.Module, name: str) -> tuple[State, str]:
    """The file's tensors under the names of ``network``, ready for ``load_state_dict``.

    Equal names are matched directly. Otherwise layers are matched by the kinds and shapes of their
    tensors (a layer is what shares a name up to its last dot). Several layers that are alike
    are matched in the order of the numbers in their names, and only if their names differ in
    nothing else: any other match would be a guess.

    Args:
        state: from :func:`open_state`.
        network: as the options describe it.
        name: of the file, for messages.

    Returns:
        The tensors with the network's own types, and a sentence for the report where layers were
        matched by their shapes (empty where the names were equal).

    Raises:
        UserError: they do not fit; it lists what is missing, unexpected or of another shape.
    """
    own = dict(network.state_dict())
    if set(_needed(own)) <= set(state) <= set(own):
        matched, note = dict(state), ""
    else:
        matched, note = (
            _by_shapes(state, own),
            (
                f"{name}: its names differ from the network's, so its layers were matched by their "
                "shapes."
            ),
        )
    if not matched or any(matched[key].shape != own[key].shape for key in matched):
        raise UserError(_difference(state, own, name))
    broken = [
        key
        for key, value in matched.items()
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    require(
        not broken,
        f"{name}: the tensors {', '.join(broken[:_SHOWN])} hold NaN or Inf, so the model gives no "
        "answers. Save the weights of a training that did not diverge.",
    )
    return {
        key: matched.get(key, value).to(value.dtype).contiguous() for key, value in own.items()
    }, note


def _safetensors(content: bytes, name: str) -> State:
    try:
        return dict(load_safetensors(content))
    except Exception as error:
        raise UserError(
            f"{name} begins like safetensors but cannot be read; it may be cut off: "
            f"{in_one_line(error)}. Copy it again."
        ) from None


def _torch(content: bytes, name: str) -> Any:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{name} cannot be read as a state dictionary: either it is damaged, or it holds more "
            "than tensors, such as a whole model. A pickle can run any code when it is opened, so "
            "only tensors are read from it. Write torch.save(model.state_dict(), path), or a "
            f"program by torch.export.save. What torch says: {in_one_line(error, 120)}"
        ) from None


def _plain(key: object, value: object) -> bool:
    return (
        isinstance(key, str)
        and type(value) in (Tensor, nn.Parameter)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _kind(value: object) -> str:
    return "an empty dictionary" if value == {} else f"a value of type {type(value).__name__}"


def _without_prefix(state: State) -> State:
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    return state


def _needed(names: Mapping[str, Tensor]) -> list[str]:
    return [key for key in names if not key.endswith(_COUNTER)]


def _layers(state: Mapping[str, Tensor]) -> dict[tuple[Any, ...], list[str]]:
    """Names of layers by what they are made of."""
    layers: dict[str, list[tuple[str, tuple[int, ...]]]] = defaultdict(list)
    for key in _needed(state):
        layer, _, last = key.rpartition(".")
        layers[layer].append((last, tuple(state[key].shape)))
    alike: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for layer, parts in layers.items():
        alike[tuple(sorted(parts))].append(layer)
    return alike


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))


def _by_shapes(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> State:
    """What :func:`fit_state` matches by shapes; empty: there is no match, or more than one."""
    theirs, ours = _layers(state), _layers(own)
    if {made: len(names) for made, names in theirs.items()} != {
        made: len(names) for made, names in ours.items()
    }:
        return {}
    matched: State = {}
    for made, names in theirs.items():
        for group in (names, ours[made]):
            if len({re.sub(r"\d+", "#", layer) for layer in group}) > 1:
                return {}
        pairs = zip(sorted(names, key=_numbers), sorted(ours[made], key=_numbers), strict=True)
        for their, our in pairs:
            for last in [part for part, _ in made] + [_COUNTER]:
                key, target = f"{their}.{last}".lstrip("."), f"{our}.{last}".lstrip(".")
                if key in state and target in own:
                    matched[target] = state[key]
    return matched


def _difference(state: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str) -> str:
    def listed(names: list[str], of: Mapping[str, Tensor]) -> str:
        shown = [f"{key} {list(of[key].shape)}" for key in names[:_SHOWN]]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return ", ".join(shown) + more

    missing = [key for key in _needed(own) if key not in state]
    unexpected = [key for key in state if key not in own]
    other = [key for key in state if key in own and state[key].shape != own[key].shape]
    parts = []
    if missing:
        parts.append(f"It lacks {listed(missing, own)}.")
    if unexpected:
        parts.append(f"It holds besides {listed(unexpected, state)}.")
    if other:
        shapes = [
            f"{key} {list(state[key].shape)} where the network has {list(own[key].shape)}"
            for key in other[:_SHOWN]
        ]
        more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
        parts.append(f"Of another shape: {', '.join(shapes)}{more}.")
    return (
        f"The weights in {name} do not fit the network that the options describe. "
        f"{' '.join(parts)} Choose the architecture that the weights were trained in, or give the "
        "model as ONNX or as a torch.export program, which bring their architecture along."
    )
