"""dlib's face network, a packaged judge of another family (PROTOCOL 2.1, extra ``faces``).

It is ``dlib_face_recognition_resnet_model_v1``, a residual network of 29 convolutional layers that
turns a picture of a face into 128 numbers. Its model card (the README of ``davisking/dlib-models``)
says that it was trained from scratch on about 3 million pictures of 7,485 people, from the face
scrub data set, the VGG face data set and the internet, and that its author made sure to avoid
people of LFW, the benchmark on which he tested it. So it may judge LFW and, as far as anybody can
know, ORL; face scrub and VGG face show people whom it was trained on, and it must not judge those.

Nothing of it is trained here. All pictures of a data set are cropped alike, so one frame serves
them all, and a reconstruction that looks like no face needs no face detector.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract import Split, UserError, require
from bench.metrics.discriminant import blur, centres

NAME = "dlib"
"""The judge, as records and tensors call it."""
FRAME, PEOPLE = f"{NAME}.frame", f"{NAME}.people"
"""Its tensors: where it looks (:func:`frame_of`), and who stands in the line-up."""

_PACKAGE = "face_recognition_models"
_FILES = {
    "dlib_face_recognition_resnet_model_v1.dat": (
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
    ),
    "shape_predictor_5_face_landmarks.dat": (
        "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"
    ),
}
"""The network and the landmarks, with the sha256 of each: other weights would be another judge."""
_NETWORK, _LANDMARKS = _FILES

_CHIP, _MARGIN = 150, 0.25
"""Pixels a side of what the network sees, and the share of a face's box that stays around it."""
_POINTS = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
"""Where dlib puts corners of the eyes and the nose in a face's box: across and down, as shares."""
_SHOWN, _ZOOM, _ROUNDS = 50, 300, 3
_WHOLE = (0.0, 0.0, 1.0, 1.0)

_PICTURES, _STRANGERS = 8, 1000
"""Most pictures of a person in the line-up, and of all strangers together if each has one: a
picture costs a tenth of a second."""
_BATCH, _KEPT = 32, 20_000

Chip = npt.NDArray[np.uint8]
_known: OrderedDict[bytes, Tensor] = OrderedDict()
"""Descriptors by the digest of a chip, so that repeats of a data set share them."""


def require_installed() -> None:
    """Check that the network is there and the right one.

    Raises:
        UserError: the extra ``faces`` is not installed, or holds another network.
    """
    _files()


def _files() -> tuple[Any, Path]:
    """The module of dlib and the folder of its networks, which are checked."""
    # Found, not imported: the package asks for pkg_resources, which setuptools gave up.
    found = importlib.util.find_spec(_PACKAGE)
    try:
        import dlib
    except ImportError:
        found = None
    if found is None or not found.submodule_search_locations:
        raise UserError(
            "The judge 'dlib' (face_network=true) needs dlib and its face network, which are not "
            "installed; install the extra 'faces': pip install 'inversion-bench[faces]', or run "
            "with face_network=false."
        )
    folder = Path(found.submodule_search_locations[0]) / "models"
    for name, digest in _FILES.items():
        require(
            _sha256(folder / name) == digest,
            f"{folder / name} is missing or is not the file of face_recognition_models 0.3.0 that "
            "the judge 'dlib' is made of; install it again: pip install --force-reinstall "
            "'inversion-bench[faces]'.",
        )
    return dlib, folder


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()


@cache
def _network() -> Any:
    dlib, folder = _files()
    return dlib.face_recognition_model_v1(str(folder / _NETWORK))


def _rgb(x: Tensor) -> Chip:
    """Images ``[n, c, h, w]`` in [0, 1] as uint8 ``[n, h, w, 3]``."""
    x = x if x.shape[1] == 3 else x.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return np.ascontiguousarray((x.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())


def _window(x: Tensor, frame: Tensor, side: int) -> Tensor:
    """What a frame shows of each image, ``[n, c, side, side]``; its edge goes on beyond it."""
    left, top, width, height = frame.tolist()
    theta = torch.tensor(
        [[width, 0.0, 2 * left + width - 1], [0.0, height, 2 * top + height - 1]]
    ).expand(len(x), 2, 3)
    grid = F.affine_grid(theta, [len(x), x.shape[1], side, side], align_corners=False)
    return F.grid_sample(x, grid, mode="bicubic", padding_mode="border", align_corners=False)


def frame_of(x: Tensor) -> Tensor:
    """Where the network should look in pictures that are cropped as these are.

    dlib's five landmarks are looked for in some of the pictures. The frame puts their medians where
    the network is used to have them, across and down apart: pictures may have been squeezed. Where
    that is nowhere near the middle, these are no photographs of faces, and all of a picture is
    shown.

    Args:
        x: images ``[n, c, h, w]`` in [0, 1], on the CPU.

    Returns:
        Left, top, width, height as shares of a picture, float32 ``[4]``.
    """
    dlib, folder = _files()
    landmarks = dlib.shape_predictor(str(folder / _LANDMARKS))
    some = x[:: max(1, len(x) // _SHOWN)]
    faces = _rgb(_window(some, torch.tensor(_WHOLE), _ZOOM))
    wanted = np.array(_POINTS)
    box = np.array([0.15, 0.2, 0.7, 0.7])
    for _ in range(_ROUNDS):
        left, top, width, height = (float(v) for v in box * _ZOOM)
        where = dlib.rectangle(*(round(v) for v in (left, top, left + width, top + height)))
        points = np.array([[(p.x, p.y) for p in landmarks(f, where).parts()] for f in faces])
        seen = np.median(points, 0) / _ZOOM
        scale = ((wanted - wanted.mean(0)) * seen).sum(0) / wanted.var(0) / len(wanted)
        box = np.concatenate([seen.mean(0) - scale * wanted.mean(0), scale])
        middle = box[:2] + box[2:] / 2
        if not (np.abs(middle - 0.5).max() < 0.3 and 0.3 < box[2:].min() <= box[2:].max() < 1.2):
            return torch.tensor(_WHOLE)
    around = np.concatenate([box[:2] - _MARGIN * box[2:], (1 + 2 * _MARGIN) * box[2:]])
    return torch.from_numpy(around).float()


def describe(x: Tensor, frame: Tensor) -> Tensor:
    """Unit descriptors float32 ``[n, 128]`` of images ``[n, c, h, w]`` in [0, 1], on the CPU.

    Args:
        x: the images.
        frame: of :func:`frame_of`.
    """
    chips = np.concatenate([_rgb(_window(part, frame, _CHIP)) for part in torch.split(x, 256)])
    keys = [hashlib.sha256(chip.tobytes()).digest() for chip in chips]
    found = {key: _known[key] for key in keys if key in _known}
    new = list(
        {key: chip for key, chip in zip(keys, chips, strict=True) if key not in found}.items()
    )
    for start in range(0, len(new), _BATCH):
        some = new[start : start + _BATCH]
        vectors = _network().compute_face_descriptor([chip for _, chip in some])
        found |= {key: torch.tensor(list(v)) for (key, _), v in zip(some, vectors, strict=True)}
    for key in keys:
        _known[key] = found[key]
        _known.move_to_end(key)
    while len(_known) > _KEPT:
        _known.popitem(last=False)
    return F.normalize(torch.stack([found[key] for key in keys]))


def _few(split: Split, most: int) -> Split:
    """The first ``most`` pictures of each person."""
    order = split.y.argsort(stable=True)
    count = split.y.bincount()
    place = torch.arange(len(order)) - (count.cumsum(0) - count)[split.y[order]]
    return split.take(order[place < most].sort().values)


def line_up(private: Split, strangers: Split, people: int, frame: Tensor) -> Tensor:
    """Unit means ``[people, 128]`` of a few pictures of each person and their blurred copies.

    The network was made for sharp photographs and reconstructions are smooth: without the copies
    it named 54 % of blurred held-out pictures of ORL right at 32 pixels, with them 89 %.

    Args:
        private: pictures of private people.
        strangers: pictures of others, numbered after them.
        people: how many people there are in all.
        frame: of :func:`frame_of`.
    """
    share = _STRANGERS // max(1, len(torch.unique(strangers.y)))
    shown = [_few(private, _PICTURES), _few(strangers, min(_PICTURES, max(1, share)))]
    x, y = (torch.cat([getattr(part, k).cpu() for part in shown]) for k in ("x", "y"))
    return centres(describe(torch.cat([x, blur(x)]), frame), y.repeat(2), people)


def likeness(x: Tensor, people: Tensor, frame: Tensor) -> Tensor:
    """Cosines ``[n, people]`` of images with people in the line-up.

    A picture and its mirror image are looked at together, which names a few more people right.

    Args:
        x: images ``[n, c, h, w]`` in [0, 1], on the CPU.
        people: of :func:`line_up`.
        frame: of :func:`frame_of`.
    """
    one, other = describe(torch.cat([x, x.flip(3)]), frame).chunk(2)
    return F.normalize(one + other) @ people.T
