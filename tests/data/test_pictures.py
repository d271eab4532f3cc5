from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
    out = decode(content(RAMP), Look(None), "it").pixels
    assert out.shape == (1, 40, 30) and np.array_equal(out[0], RAMP)
    assert decode(content(RAMP), Look(None, colour=True), "it").pixels.shape == (3, 40, 30)


def test_shrinking_averages_over_areas() -> None:
    board = np.indices((32, 32)).sum(0) % 2 * 200
    out = decode(content(board.astype(np.uint8)), Look((16, 16)), "it").pixels
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
    out = decode(content(RAMP), Look((80, 60)), "it").pixels
    assert out.shape == (1, 80, 60)


def test_a_picture_stands_as_its_camera_said() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode(content(RAMP, exif=exif), Look(None), "it").pixels.shape == (1, 30, 40)


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
    x, sha256, _ = album.read(np.array([4, 0]), look)
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


def stored(image: Image.Image, ending: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format=ending, **options)
    return out.getvalue()


def transparent(mode: str) -> Image.Image:
    """Black, and every pixel see-through, as ``mode`` says it."""
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    if mode == "P":
        image = Image.new("P", (20, 20), 0)
        image.info["transparency"] = 0
        return image
    if mode == "RGB":
        image = Image.new("RGB", (20, 20), "black")
        image.info["transparency"] = (0, 0, 0)
        return image
    return clear.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
@pytest.mark.parametrize("colour", [False, True])
def test_the_hidden_colour_is_never_seen(mode: str, colour: bool) -> None:
    image = decode(stored(transparent(mode)), Look(None, colour=colour), "it")
    assert (image.pixels == 255).all() and image.remarks == ("transparent",)


def test_an_opaque_alpha_channel_changes_nothing() -> None:
    solid = Image.fromarray(RAMP).convert("RGBA")
    image = decode(stored(solid), Look(None), "it")
    assert np.array_equal(image.pixels[0], RAMP) and image.remarks == ()


def test_the_first_frame_counts_and_inks_become_light() -> None:
    frames = [Image.new("L", (20, 20), grey) for grey in (10, 200)]
    moving = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    image = decode(moving, Look(None), "it")
    assert image.remarks == ("several frames",) and (image.pixels == 10).all()
    inks = stored(Image.new("CMYK", (20, 20), (0, 0, 0, 255)), "TIFF")
    assert (decode(inks, Look(None, colour=True), "it").pixels == 0).all()


@pytest.mark.parametrize(
    "exif",
    [
        # the orientation as the text "6", and a width that is a fraction beyond the end
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\x006\0\0\0\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x00\x01\x05\0\x01\0\0\0\xff\xff\xff\xff\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0nonsense",
    ],
)
@pytest.mark.filterwarnings("ignore:(Corrupt EXIF|Truncated)")
def test_odd_exif_is_no_obstacle(exif: bytes) -> None:
    odd = stored(Image.fromarray(RAMP), "JPEG", exif=exif)
    assert sorted(decode(odd, Look(None), "it").pixels.shape[1:]) == [30, 40]


EXAMPLES = [
    stored(Image.fromarray(RAMP), ending, **more)
    for ending, more in (("PNG", {}), ("JPEG", {"exif": Image.Exif().tobytes()}), ("GIF", {}))
]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(EXAMPLES),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
    st.integers(0, 3000),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_are_a_picture_or_a_sentence(
    example: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    damaged = bytearray(example)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        assert decode(bytes(damaged[:length]), Look((16, 16)), "it").pixels.shape == (1, 16, 16)
    except UserError as error:
        assert str(error).startswith("it ")


def test_what_is_not_read_is_counted_by_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree(tmp_path, [2, 2])
    for name in ("p00/a.HEIC", "p01/b.heic", "p01/photo", "p01/.c.png", "list.txt"):
        (tmp_path / name).touch()
    (tmp_path / "p00/more/deep").mkdir(parents=True)
    (tmp_path / "p00/more/deep/9.png").touch()
    (tmp_path / "Zoe").mkdir()
    (tmp_path / "Zoe/1.heic").touch()
    album = Album.find("toy", tmp_path)
    assert album.unread == {
        "beside the people's folders": 1,
        "ending .heic": 3,
        "hidden": 1,
        "in a further folder": 1,
        "no ending": 1,
    }
    assert album.without == ("Zoe",)
    assert "Zoe" not in str(album.facts) and album.facts["n_people_without_pictures"] == 1
    Album.find("toy", tmp_path)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1 and "Zoe" in told[0] and "3 (ending .heic)" in told[0]


def test_a_name_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    tree(tmp_path, [2])
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/Ren\xe9")).mkdir()
    with pytest.raises(UserError, match=r"'Ren\\xe9'.*not UTF-8") as caught:
        Album.find("toy", tmp_path)
    str(caught.value).encode()
