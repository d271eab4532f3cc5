from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contract import UserError
from bench.data.pictures import Album, Look, decode
from tests.data.trees import tree


def content(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", **options)
    return out.getvalue()


RAMP = np.arange(40 * 30, dtype=np.uint16).reshape(40, 30).astype(np.uint8)


def test_a_picture_is_what_the_file_holds() -> None:
    out = decode(content(RAMP), Look(None), "it")
    assert out.shape == (1, 40, 30) and np.array_equal(out[0], RAMP)
    assert decode(content(RAMP), Look(None, colour=True), "it").shape == (3, 40, 30)


def test_shrinking_averages_over_areas() -> None:
    board = np.indices((32, 32)).sum(0) % 2 * 200
    out = decode(content(board.astype(np.uint8)), Look((16, 16)), "it")
    assert (out == 100).all(), "a fine pattern must not alias"


@pytest.mark.parametrize(
    ("look", "window"),
    [
        (Look((16, 16)), (0, 5, 30, 35)),
        (Look((16, 16), crop=0.5), (7.5, 12.5, 22.5, 27.5)),
        (Look((16, 16), aspect=(40, 30)), (0, 0, 30, 40)),
        (Look(None, crop=0.5), (7.5, 10, 22.5, 30)),
        (Look((60, 15)), (10, 0, 20, 40)),
    ],
)
def test_the_window_is_centred_and_in_shape(look: Look, window: tuple[float, ...]) -> None:
    assert look.window(40, 30) == pytest.approx(window)


def test_a_small_picture_is_enlarged() -> None:
    out = decode(content(RAMP), Look((80, 60)), "it")
    assert out.shape == (1, 80, 60)


def test_a_picture_stands_as_its_camera_said() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode(content(RAMP, exif=exif), Look(None), "it").shape == (1, 30, 40)


def test_bad_pictures_are_refused_by_name() -> None:
    for bad in (b"", b"hello", content(RAMP)[:60]):
        with pytest.raises(UserError, match="it cannot be read as a picture"):
            decode(bad, Look(None), "it")
    with pytest.raises(UserError, match="8 bits"):
        decode(content(RAMP.astype(np.uint16) * 200), Look(None), "it")
    with pytest.raises(UserError, match=r"it has 40 x 30 pixels, expected \(16, 16\)"):
        decode(content(RAMP), Look(None), "it", (16, 16))


def test_an_album_is_listed_in_order_and_passes_over_what_is_no_picture(tmp_path: Path) -> None:
    tree(tmp_path, [2, 3])
    (tmp_path / "p00/Thumbs.db").touch()
    (tmp_path / "p00/.1.png").touch()
    (tmp_path / "list.txt").touch()
    (tmp_path / "empty").mkdir()
    album = Album.find("toy", tmp_path)
    assert album.people == ("p00", "p01")
    assert album.person.tolist() == [0, 0, 1, 1, 1]
    assert album.files == ("0.png", "1.png", "0.png", "1.png", "2.png")


def test_rows_come_in_the_order_wanted_and_the_hash_is_of_all(tmp_path: Path) -> None:
    album = Album.find("toy", tree(tmp_path, [2, 3]))
    look = Look((16, 16), colour=True)
    x, sha256 = album.read(np.array([4, 0]), look)
    assert x.shape == (2, 3, 16, 16) and x.is_contiguous()
    assert (x[:, :2, 0, 0] * 255).round().int().tolist() == [[10, 20], [5, 0]]
    assert album.read(np.array([1]), look)[1] == sha256
    (tmp_path / "p01/2.png").rename(tmp_path / "p00/2.png")
    assert Album.find("toy", tmp_path).read(np.array([1]), look)[1] != sha256


def test_a_folder_that_is_none_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be listed"):
        Album.find("toy", tmp_path / "nowhere")
    with pytest.raises(UserError, match="no folder with pictures"):
        Album.find("toy", tmp_path)
