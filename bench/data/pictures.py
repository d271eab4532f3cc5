"""Pictures from files: a folder of pictures per person, decoded in one pass."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from bench.contract import UserError, require
from bench.data.common import Ints

Pixels = npt.NDArray[np.uint8]
_DEEP = ("I", "F")
"""Modes of more than 8 bits a channel start so; PIL would clip them to 255, not scale them."""


@dataclass(frozen=True)
class Look:
    """How a picture becomes a record.

    Attributes:
        size: height and width of the record; None keeps the window's own pixels.
        crop: share of the largest centred window that is kept, in (0, 1]; 1 is all of it.
        aspect: height and width (any unit) that give the window its shape, which is then squeezed
            to ``size``; None takes the shape of ``size``, or of the picture.
        colour: three channels instead of one.
    """

    size: tuple[int, int] | None
    crop: float = 1.0
    aspect: tuple[int, int] | None = None
    colour: bool = False

    def window(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Left, upper, right and lower edge of the window in a picture, in pixels."""
        aspect = self.aspect or self.size or (height, width)
        scale = self.crop * min(height / aspect[0], width / aspect[1])
        tall, wide = aspect[0] * scale, aspect[1] * scale
        left, upper = (width - wide) / 2, (height - tall) / 2
        return left, upper, left + wide, upper + tall


def decode(content: bytes, look: Look, where: str, pixels: tuple[int, int] | None = None) -> Pixels:
    """One picture, uint8 ``[channels, height, width]``.

    Averages over areas where it shrinks a picture, interpolates where it enlarges one; turns it
    as its EXIF data says.

    Args:
        content: the file.
        look: what is made of it.
        where: the data set and the file, for messages.
        pixels: height and width that the file must have; None: any.

    Raises:
        UserError: no readable picture, more than 8 bits a channel, or other ``pixels``.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            ImageOps.exif_transpose(opened, in_place=True)
            deep = opened.mode.startswith(_DEEP)
            image = opened.convert("RGB" if look.colour else "L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{where} cannot be read as a picture ({error}); it is damaged or no picture: get it "
            "again or take it out of the folder."
        ) from error
    require(not deep, f"{where} has more than 8 bits a channel; convert it to 8 bits.")
    height, width = image.height, image.width
    require(
        pixels is None or pixels == (height, width),
        f"{where} has {height} x {width} pixels, expected {pixels}; get it again, or set 'size' so "
        "that all pictures become equally large.",
    )
    left, upper, right, lower = look.window(height, width)
    if look.size is None:
        box = (round(left), round(upper), round(right), round(lower))
        image = image if box == (0, 0, width, height) else image.crop(box)
    else:
        shrinks = lower - upper >= look.size[0] and right - left >= look.size[1]
        image = image.resize(
            look.size[::-1],
            Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR,
            box=(left, upper, right, lower),
        )
    array = np.asarray(image)
    return array.transpose(2, 0, 1) if look.colour else array[None]


def to_float(pixels: Pixels) -> Tensor:
    """Pixels of 0 to 255 as float32 in [0, 1]."""
    return torch.from_numpy(np.divide(pixels, 255.0, dtype=np.float32, order="C"))


def read(name: str, paths: Iterable[Path], look: Look, pixels: tuple[int, int]) -> Tensor:
    """Pictures of equal size, float32 ``[n, channels, height, width]`` in [0, 1].

    Args:
        name: the data set, for messages.
        paths: the files, in order.
        look: what is made of each.
        pixels: height and width that each file must have.

    Raises:
        UserError: as :func:`decode`.
    """
    decoded = [
        decode(path.read_bytes(), look, f"Data set '{name}': file '{path}'", pixels)
        for path in paths
    ]
    return to_float(np.stack(decoded))


@dataclass(frozen=True)
class Album:
    """The pictures of a folder that holds one folder per person, found but not yet read.

    Attributes:
        name: the data set, for messages.
        folder: where they are.
        people: names of the folders that hold pictures, sorted.
        files: names of the pictures, person by person, sorted.
        person: int64 ``[n]``, for each file the index of its person.
    """

    name: str
    folder: Path
    people: tuple[str, ...]
    files: tuple[str, ...]
    person: Ints

    @classmethod
    def find(cls, name: str, folder: Path) -> Album:
        """List ``folder`` without looking at single files, so that many are no burden.

        Files that end as no picture does, and hidden ones, are passed over.

        Raises:
            UserError: no such folder, or no folder with pictures in it.
        """
        Image.init()
        endings = tuple(Image.EXTENSION)
        people: list[str] = []
        files: list[str] = []
        owner: list[int] = []
        try:
            with os.scandir(folder) as entries:
                folders = sorted(e.name for e in entries if e.is_dir() and e.name[0] != ".")
            for each in folders:
                with os.scandir(folder / each) as entries:
                    pictures = sorted(
                        e.name
                        for e in entries
                        if e.name.lower().endswith(endings) and e.name[0] != "."
                    )
                if pictures:
                    owner += [len(people)] * len(pictures)
                    people.append(each)
                    files += pictures
        except OSError as error:
            raise UserError(
                f"Data set '{name}': '{error.filename}' cannot be listed ({error.strerror}); it "
                "must be a folder with one folder of pictures per person."
            ) from error
        require(
            bool(people),
            f"Data set '{name}': '{folder}' has no folder with pictures in it; it must hold one "
            "folder per person with files such as 1.jpg or 1.png.",
        )
        return cls(name, folder, tuple(people), tuple(files), np.array(owner, dtype=np.int64))

    def read(self, rows: Ints, look: Look) -> tuple[Tensor, str]:
        """Decode some pictures and hash all of them, each file read once.

        Args:
            rows: which, in the order wanted, none twice.
            look: what is made of each.

        Returns:
            float32 ``[len(rows), channels, height, width]`` in [0, 1], and the sha256 of all names
            and contents, whatever ``rows`` is.

        Raises:
            UserError: an unreadable picture, or pictures of several sizes and no ``look.size``.
        """
        place = np.full(len(self.files), -1)
        place[rows] = np.arange(len(rows))
        digest = hashlib.sha256()
        records: Pixels | None = None
        pixels: tuple[int, int] | None = None
        for row, (file, who) in enumerate(zip(self.files, self.person, strict=True)):
            path = f"{self.people[who]}/{file}"
            where = f"Data set '{self.name}': file '{self.folder / path}'"
            try:
                content = (self.folder / path).read_bytes()
            except OSError as error:
                raise UserError(
                    f"{where} cannot be read ({error.strerror}); it must be a file that this user "
                    "may read."
                ) from error
            digest.update(f"{path}\0{len(content)}\0".encode())
            digest.update(content)
            if place[row] < 0:
                continue
            picture = decode(content, look, where, pixels)
            if records is None:
                records = np.empty((len(rows), *picture.shape), dtype=np.uint8)
                if look.size is None:
                    with Image.open(io.BytesIO(content)) as image:
                        turned = ImageOps.exif_transpose(image)
                        pixels = (turned.height, turned.width)
            records[place[row]] = picture
        assert records is not None
        return to_float(records), digest.hexdigest()
