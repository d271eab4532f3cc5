"""What kind of model a file holds, told by its ending and by its content.

A pickle can run any code when it is opened, so none is ever opened here, whatever its ending says.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import torch

from bench.contract import UserError, nearest, require
from bench.models.external.files.state import is_safetensors

ENDINGS = {
    ".onnx": "onnx",
    ".safetensors": "safetensors",
    ".pt": "state",
    ".pth": "state",
    ".bin": "state",
    ".pt2": "program",
    ".skops": "skops",
    ".csv": "predictions",
    ".parquet": "predictions",
}
"""What each ending stands for: what :func:`kind_of` can answer."""
_PICKLES = (".pkl", ".pickle", ".joblib", ".sav", ".dill", ".cloudpickle", ".p")

_EXPORT = (
    "A pickle can run any code when it is opened, so it is never opened here. Export the model "
    "instead: scikit-learn by skops.io.dump(model, 'model.skops') or by skl2onnx; LightGBM and "
    "XGBoost by onnxmltools as ONNX; torch by torch.export.save (.pt2), by torch.onnx.export, or "
    "its weights alone by torch.save(model.state_dict(), 'model.pt') or as safetensors; any model "
    "as a table of its answers (.csv or .parquet)."
)
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstandard",
}
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_ONNX_FIELDS = tuple(bytes([tag]) for tag in (0x08, 0x12, 0x1A, 0x22, 0x3A, 0x42))
"""First bytes of fields of an ONNX model, whose order is free; converters begin with 0x08."""
_OLD_PICKLE = re.compile(rb"\(?(c\w+(\.\w+)*\n\w+\n|[ld]p0\n|\(lp0\n)", re.ASCII)
"""How a pickle of protocol 0 begins: with a name that it imports, or with a list or dictionary."""


def kind_of(path: Path, content: bytes) -> str:
    """What a file holds: one of the kinds in :data:`ENDINGS`.

    Args:
        path: of the file, for its ending.
        content: of the file.

    Raises:
        UserError: it is a pickle, its content contradicts its ending, or it is none of these.
    """
    name, ending = path.name, path.suffix.lower()
    _refuse_broken(name, content)
    require(ending not in _PICKLES, f"{name} is a pickle by its ending {ending}. {_EXPORT}")
    held = _held(content, name, ending)
    wanted = ENDINGS.get(ending)
    if wanted is None:
        looks = f" Its content looks like {_TEXTS[held]}." if held in _TEXTS else ""
        raise UserError(
            f"{name} has the ending {ending or 'of no kind'!r}, which says no kind of model."
            f"{looks}{nearest(ending, ENDINGS)} Rename the file, or export the model. "
            f"{_EXPORT if held is None else ''}".rstrip()
        )
    if held != ending and (held, wanted) != (".pt", "state"):
        raise UserError(_contradiction(name, ending, held))
    return wanted


_TEXTS = {
    ".onnx": "an ONNX model",
    ".safetensors": "safetensors",
    ".pt": "weights of torch",
    ".pth": "weights of torch",
    ".bin": "weights of torch",
    ".pt2": "a torch.export program",
    ".skops": "a skops file",
    ".csv": "UTF-8 text",
    ".parquet": "a Parquet table",
}


def _contradiction(name: str, ending: str, held: str | None) -> str:
    said = f"{name} is no {ending} file: its content is not that of {_TEXTS[ending]}"
    if held is None:
        return f"{said}, and it may be cut off. Export or copy it again."
    if held == ".csv":
        return f"{said} but plain text, as a download that failed leaves behind. Fetch it again."
    return f"{said} but of {_TEXTS[held]}. Rename it to {Path(name).stem}{held}."


def _refuse_broken(name: str, content: bytes) -> None:
    """Refuse what stands in the place of a model where fetching it went wrong."""
    require(len(content) > 0, f"{name} is empty. Export or copy it again.")
    head = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    require(
        not head.startswith(b"version https://git-lfs"),
        f"{name} is a pointer of Git LFS and not the file itself. Fetch it with git lfs pull.",
    )
    require(
        not head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")),
        f"{name} is a web page (HTML or XML) and no model: a download that needs a login often "
        "leaves one. Fetch the file again.",
    )


def _held(content: bytes, name: str, ending: str) -> str | None:
    """The ending that the content would deserve, None if it is unknown.

    Raises:
        UserError: it is a pickle, or a format that has to be exported first.
    """
    if content[:4] == b"PK\x03\x04":
        return _held_by_zip(content, name)
    if content[:4] == b"PAR1":
        return ".parquet" if content[-4:] == b"PAR1" and len(content) > 8 else None
    if is_safetensors(content):
        return ".safetensors"
    if content[:1] == b"\x80" and content[1:2] in b"\x02\x03\x04\x05":
        return _weights(content, name)
    compressed = next((what for sign, what in _COMPRESSED.items() if content.startswith(sign)), "")
    if content[:2] in _ZLIB and ending != ".csv":
        compressed = "zlib"
    require(
        not compressed,
        f"{name} is compressed ({compressed}). joblib writes pickles so. {_EXPORT} If it is one of "
        "those in a compressed file, unpack it.",
    )
    require(not _OLD_PICKLE.match(content), f"{name} is a pickle. {_EXPORT}")
    _refuse_other_libraries(content, name)
    if _is_text(content):
        return ".csv"
    # A table in another encoding may begin with one of them too.
    table = ENDINGS.get(ending) == "predictions"
    return ".onnx" if content[:1] in _ONNX_FIELDS and not table else None


def _held_by_zip(content: bytes, name: str) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.namelist()
    except Exception:
        raise UserError(
            f"{name} is an archive whose end is missing, so it is cut off or damaged. Export or "
            "copy it again."
        ) from None
    inner = {member.partition("/")[2] for member in members} | set(members)
    if "schema.json" in members:
        return ".skops"
    if (
        "archive_format" in inner
        or "models/model.json" in inner
        or any(member.startswith("serialized_exported_program") for member in members)
    ):
        return ".pt2"
    require(
        "constants.pkl" not in inner,
        f"{name} is a TorchScript archive, which is not read. Export the model with "
        "torch.export.save (.pt2) or torch.onnx.export.",
    )
    require(
        "model.weights.h5" not in members,
        f"{name} is a Keras file, which is not read: it may hold code. Export the model as ONNX "
        "(tf2onnx or model.export(path, format='onnx')).",
    )
    if "data.pkl" in inner:
        return _weights(content, name)
    require(
        not any(member.endswith((".pkl", ".pickle", ".joblib")) for member in members),
        f"{name} is an archive with a pickle inside. {_EXPORT}",
    )
    return None


def _weights(content: bytes, name: str) -> str:
    """``.pt`` if torch reads it as weights alone; any other pickle is refused."""
    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:
        raise UserError(
            f"{name} is a pickle that holds more than weights, or is cut off. {_EXPORT}"
        ) from None
    return ".pt"


def _refuse_other_libraries(content: bytes, name: str) -> None:
    """Say how to export the formats that libraries write by themselves."""
    said = ""
    if content.startswith((b"tree\nversion", b"tree\r\nversion")):
        said = "LightGBM, which onnxmltools.convert_lightgbm exports as ONNX"
    elif content.startswith((b'{"learner"', b"binf", b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner")):
        said = "XGBoost, which onnxmltools.convert_xgboost exports as ONNX"
    elif content.startswith(b"CBM1"):
        said = "CatBoost, which model.save_model(path, format='onnx') exports as ONNX"
    elif content.startswith(b"\x89HDF"):
        said = "Keras (HDF5), which tf2onnx exports as ONNX"
    require(not said, f"{name} is a file of {said}. Export it, and give the ONNX file.")


def _is_text(content: bytes) -> bool:
    head = content[:4096]
    if any(byte < 32 and byte not in b"\t\r\n\f" for byte in head):
        return False
    try:
        content[:65536].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= min(len(content), 65536) - 4
    return True
