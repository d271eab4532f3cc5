"""Pictures from files: a folder of pictures per person, decoded in one pass."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from bench.contract import UserError, require
from bench.data.common import Ints

Pixels = npt.NDArray[np.uint8]
BACKGROUND = "white"
"""What shines through the transparent parts of a picture, in the words of a data set's facts."""
_LOG = logging.getLogger(__name__)
_DEEP = ("I", "F")
"""Modes of more than 8 bits a channel start so; PIL would clip them to 255, not scale them."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by the value of EXIF's orientation."""
_CLUTTER = frozenset({"thumbs.db", "desktop.ini"})
"""What file managers leave behind: counted as hidden, and no reason for a warning."""
_FACTS = {"transparent": "pictures_on_white", "several frames": "first_frames_taken"}
"""Names of the facts that count the remarks on pictures."""
_TOLD: set[str] = set()
"""Warnings of this process: every seed lists the folder again."""
_NAMED = 5
"""Most names in a warning."""


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


@dataclass(frozen=True)
class Decoded:
    """A picture that was read.

    Attributes:
        pixels: uint8 ``[channels, height, width]``.
        size: height and width of the upright picture, before it was cut and scaled.
        remarks: what was decided about it: ``transparent`` (its transparent parts are
            :data:`BACKGROUND`), ``several frames`` (the first was taken).
    """

    pixels: Pixels
    size: tuple[int, int]
    remarks: tuple[str, ...] = ()


def decode(
    content: bytes, look: Look, where: str, pixels: tuple[int, int] | None = None
) -> Decoded:
    """One picture.

    Averages over areas where it shrinks a picture, interpolates where it enlarges one; turns it
    as its EXIF data says. Transparent parts become white, CMYK becomes RGB, and of several frames
    the first is taken.

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
            upright, remarks = _upright(opened)
        deep = upright.mode.startswith(_DEEP)
        image = upright.convert("RGB" if look.colour else "L")
    except Exception as error:  # Pillow's readers raise nearly anything at a damaged file
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "of no known format" if unknown else " ".join(str(error).split())[:200]
        raise UserError(
            f"{where} cannot be read as a picture ({reason}); it is damaged or no picture: get it "
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
    array = array.transpose(2, 0, 1) if look.colour else array[None]
    return Decoded(array, (height, width), remarks)


def _upright(opened: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The first frame on white, turned as EXIF says, and what was decided about it."""
    remarks = ["several frames"] if getattr(opened, "n_frames", 1) > 1 else []
    orientation = _orientation(opened)
    opened.load()
    image = opened
    if image.has_transparency_data and not image.mode.startswith(_DEEP):
        layer = image.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            remarks.append("transparent")
        white = Image.new("RGBA", layer.size, BACKGROUND)
        image = Image.alpha_composite(white, layer).convert("RGB")
    turn = _TURNS.get(orientation)
    return (image.copy() if turn is None else image.transpose(turn)), tuple(remarks)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1, upright, where it has none or cannot be read.

    Nothing else of EXIF is looked at: cameras and editors write tags of the wrong type.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as in decode; EXIF comes from the same damaged file
        return 1


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
        decode(path.read_bytes(), look, f"Data set '{name}': file '{path}'", pixels).pixels
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
        unread: how many files are no picture of the album, by reason.
        without: names of the folders without a readable picture.
    """

    name: str
    folder: Path
    people: tuple[str, ...]
    files: tuple[str, ...]
    person: Ints
    unread: Mapping[str, int] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    @classmethod
    def find(cls, name: str, folder: Path) -> Album:
        """List ``folder`` without looking into single files, so that many are no burden.

        Files whose ending is no picture's, hidden ones and those in further folders are passed
        over, counted, and told in a warning of the logger ``bench``.

        Raises:
            UserError: no such folder, no folder with pictures in it, or a name that is not UTF-8.
        """
        Image.init()
        endings = tuple(Image.EXTENSION)
        people: list[str] = []
        files: list[str] = []
        owner: list[int] = []
        without: list[str] = []
        unread: Counter[str] = Counter()
        try:
            folders, loose = _listed(name, folder)
            unread["beside the people's folders"] += len(loose)
            for each in folders:
                if each.startswith("."):
                    unread["hidden"] += _count(folder / each)
                    continue
                inner, names = _listed(name, folder / each)
                unread["in a further folder"] += sum(_count(folder / each / i) for i in inner)
                reasons = {file: _reason(file, endings) for file in names}
                unread.update(reason for reason in reasons.values() if reason)
                pictures = [file for file, reason in reasons.items() if not reason]
                if pictures:
                    owner += [len(people)] * len(pictures)
                    people.append(each)
                    files += pictures
                else:
                    without.append(each)
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
        counts = {reason: n for reason, n in sorted(unread.items()) if n}
        _warn(name, folder, counts, without)
        who = np.array(owner, dtype=np.int64)
        return cls(name, folder, tuple(people), tuple(files), who, counts, tuple(without))

    @property
    def facts(self) -> dict[str, Any]:
        """What was passed over, for the facts of a data set; nothing where all was read.

        Folders are counted, not named: facts are published, and names are of people.
        """
        facts: dict[str, Any] = {"files_not_read": dict(self.unread)} if self.unread else {}
        return facts | ({"n_people_without_pictures": len(self.without)} if self.without else {})

    def read(self, rows: Ints, look: Look) -> tuple[Tensor, str, dict[str, Any]]:
        """Decode some pictures and hash all of them, each file read once.

        Args:
            rows: which, in the order wanted, none twice.
            look: what is made of each.

        Returns:
            float32 ``[len(rows), channels, height, width]`` in [0, 1]; the sha256 of all names and
            contents, whatever ``rows`` is; and how many of ``rows`` have which remark of
            :class:`Decoded`, as facts.

        Raises:
            UserError: an unreadable picture, or pictures of several sizes and no ``look.size``.
        """
        place = np.full(len(self.files), -1)
        place[rows] = np.arange(len(rows))
        digest = hashlib.sha256()
        records: Pixels | None = None
        pixels: tuple[int, int] | None = None
        remarks: Counter[str] = Counter()
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
                records = np.empty((len(rows), *picture.pixels.shape), dtype=np.uint8)
                pixels = picture.size if look.size is None else None
            records[place[row]] = picture.pixels
            remarks.update(picture.remarks)
        assert records is not None
        facts: dict[str, Any] = {_FACTS[remark]: n for remark, n in sorted(remarks.items())}
        return to_float(records), digest.hexdigest(), facts


def _listed(name: str, folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files in a folder, each sorted.

    Raises:
        UserError: a name that is not UTF-8: it cannot stand in a record, nor in its hash.
        OSError: it cannot be listed.
    """
    names: tuple[list[str], list[str]] = ([], [])
    with os.scandir(folder) as entries:
        for entry in entries:
            names[not entry.is_dir()].append(entry.name)
            shown = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            require(
                shown == entry.name,
                f"Data set '{name}': the name '{shown}' in '{folder}' is not UTF-8; rename it "
                "(convmv -f latin1 -t utf8 renames whole trees).",
            )
    folders, files = names
    return sorted(folders), sorted(files)


def _count(folder: Path) -> int:
    """How many files are below a folder."""
    return sum(len(files) for _, _, files in os.walk(folder))


def _reason(file: str, endings: tuple[str, ...]) -> str:
    """Why a file is no picture of an album; empty where it is one."""
    if file.startswith(".") or file.lower() in _CLUTTER:
        return "hidden"
    if file.lower().endswith(endings):
        return ""
    ending = Path(file).suffix.lower()
    return f"ending {ending}" if ending else "no ending"


def _warn(name: str, folder: Path, unread: Mapping[str, int], without: Sequence[str]) -> None:
    """Say what was passed over, once for what stands there now."""
    lost = {reason: n for reason, n in unread.items() if reason != "hidden"}
    if not lost and not without:
        return
    counted = ", ".join(f"{n} ({reason})" for reason, n in unread.items())
    message = f"Data set '{name}': files in '{folder}' that are not read: {counted or 'none'}."
    if without:
        more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
        message += f" No readable picture of: {', '.join(without[:_NAMED])}{more}."
    if message not in _TOLD:
        _TOLD.add(message)
        _LOG.warning("%s", message)
