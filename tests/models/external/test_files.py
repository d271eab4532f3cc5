from __future__ import annotations

import bz2
import gzip
import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
import skops.io
import torch
from safetensors.torch import save
from sklearn.linear_model import LinearRegression

from bench.contract import UserError
from bench.models.external.files import packages
from bench.models.external.files.kinds import kind_of
from tests.models.external.given import images, network, program, torch_onnx


def saved(value: Any, **options: Any) -> bytes:
    written = io.BytesIO()
    torch.save(value, written, **options)
    return written.getvalue()


def joblib_file(compress: Any) -> bytes:
    written = io.BytesIO()
    joblib.dump(LinearRegression(), written, compress=compress)
    return written.getvalue()


def parquet() -> bytes:
    written = io.BytesIO()
    pd.DataFrame({"a": [1.0]}).to_parquet(written)
    return written.getvalue()


def good() -> dict[str, tuple[bytes, str]]:
    state = network().state_dict()
    return {
        "m.onnx": (torch_onnx(network(), images(2)), "onnx"),
        "m.safetensors": (save(dict(state)), "safetensors"),
        "m.pt": (saved(state), "state"),
        "m.PTH": (saved({"state_dict": state}), "state"),
        "pytorch_model.bin": (saved(state, _use_new_zipfile_serialization=False), "state"),
        "m.pt2": (program(network(), images(2)), "program"),
        "m.skops": (skops.io.dumps(LinearRegression()), "skops"),
        "answers.csv": (b"age,label\n1,yes\n", "predictions"),
        "answers.parquet": (parquet(), "predictions"),
    }


def test_files_are_known_by_ending_and_content() -> None:
    for name, (content, kind) in good().items():
        assert kind_of(Path("somewhere") / name, content) == kind


def test_a_content_that_contradicts_its_ending_is_refused() -> None:
    files = good()
    for name in files:
        for other, (content, _) in files.items():
            endings = {Path(name).suffix.lower(), Path(other).suffix.lower()}
            if len(endings) == 2 and not endings <= {".pt", ".pth", ".bin"}:
                with pytest.raises(UserError, match=Path(name).stem):
                    kind_of(Path(name), content)


@pytest.mark.parametrize("name", ["m.onnx", "m.pt", "m.skops", "m.csv", "m.safetensors", "m.xyz"])
def test_what_stands_in_the_place_of_a_model_is_named(name: str) -> None:
    for content, word in (
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html>login</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "LFS"),
    ):
        with pytest.raises(UserError, match=word):
            kind_of(Path(name), content)


def pickles() -> dict[str, bytes]:
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w") as archive:
        archive.writestr("model.pkl", pickle.dumps(1))
    return {
        **{f"protocol {n}": pickle.dumps(LinearRegression(), protocol=n) for n in range(6)},
        "a list": pickle.dumps([1, 2], protocol=0),
        "joblib": joblib_file(0),
        "zlib": joblib_file(("zlib", 3)),
        "gzip": joblib_file(("gzip", 3)),
        "bz2": joblib_file(("bz2", 3)),
        "xz": joblib_file(("xz", 3)),
        "a whole model": saved(network()),
        "an old whole model": saved(network(), _use_new_zipfile_serialization=False),
        "inside an archive": inside.getvalue(),
    }


@pytest.mark.parametrize("which", sorted(pickles()))
@pytest.mark.parametrize("ending", [".pt", ".pkl", ".onnx", ".skops", ".joblib", ".model"])
def test_a_pickle_is_refused_whatever_it_is_called(which: str, ending: str) -> None:
    with pytest.raises(UserError, match="pickle"):
        kind_of(Path(f"m{ending}"), pickles()[which])


def test_other_formats_are_told_how_to_export() -> None:
    for content in (
        b"tree\nversion=v4\nnum_class=1\n",
        b'{"learner":{}}',
        b"CBM1\x00\x00",
        b"\x89HDF\r\n\x1a\n",
    ):
        with pytest.raises(UserError, match="ONNX"):
            kind_of(Path("m.txt"), content)
    written = io.BytesIO()
    traced = io.BytesIO(b"")
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("m/constants.pkl", traced.getvalue())
        archive.writestr("m/data.pkl", b"")
    with pytest.raises(UserError, match="TorchScript"):
        kind_of(Path("m.pt"), written.getvalue())


def test_a_file_that_is_cut_off_or_compressed_is_refused() -> None:
    for name, (content, _) in good().items():
        if content[:2] == b"PK" or name.endswith(".parquet"):
            with pytest.raises(UserError, match="cut off"):
                kind_of(Path(name), content[: len(content) // 2])
    for packed in (gzip.compress(b"a,b\n"), bz2.compress(b"a,b\n"), zlib.compress(b"a,b\n")):
        with pytest.raises(UserError, match=r"compressed|content"):
            kind_of(Path("m.csv"), packed)


@pytest.mark.parametrize("first", ['"age"', ":age", "Breite"])
def test_a_table_in_another_encoding_is_no_onnx_model(first: str) -> None:
    content = f"{first},größe,label\n1,2,ja\n".encode("cp1252")
    with pytest.raises(UserError) as caught:
        kind_of(Path("m.csv"), content)
    assert "ONNX" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(packages.importlib, "import_module", absent)
    with pytest.raises(UserError, match="redteam"):
        packages.package("skops.io")
