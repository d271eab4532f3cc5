"""A copy of a ``torch.export`` archive that holds nothing but what was checked.

``torch.export.load`` is not safe with a file of somebody else; this was read in torch 2.14:

- weights and constants with ``use_pickle``, and every constant that is no plain tensor, are
  unpickled without restrictions (``torch/export/pt2_archive/_package.py``);
- what ``weights_only=True`` refuses in sample inputs or older weights is loaded again with
  ``weights_only=False`` (``torch/_export/serde/serialize.py``);
- the sizes of dynamic dimensions are texts that sympy evaluates as Python, guards are texts that
  are executed, and names end up in generated Python code: an archive without a single pickle can
  run code as well;
- compiled libraries below ``data/aotinductor`` are loaded.

So nothing of the file is handed to it as it is. The graph is read as JSON; it may call ATen
operators alone, and every text in it must be a plain name. What is not needed to predict (guards,
stack traces, extra files) is left out, and tensors are written anew. Whatever the version of torch
does with the copy, there is no text and no pickle of the file's author in it.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

from bench.contract import UserError, require
from bench.contract.secrets import in_one_line

_KEPT = re.compile(r"byteorder|archive_format|archive_version|version|\.data/\w+")
_GRAPH = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_SETTINGS = re.compile(r"data/(weights|constants)/model_\1_config\.json")
_OLD_TENSORS = re.compile(r"data/(weights|constants)/model\.pt")
_RAW = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_EXTRA = re.compile(r"(extra|data/xl_model_weights)/.*|.*/")

_NAME = re.compile(r"[\w.]*", re.ASCII)
_ARGUMENT = re.compile(r"[\w ,.>-]*", re.ASCII)
_ATEN = re.compile(r"torch\.ops\.aten\.\w+\.\w+", re.ASCII)
_SIZES = re.compile(
    r"_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|torch\.sym_(int|float|max|min|not|ite)",
    re.ASCII,
)
"""Operators of Python on the sizes of dynamic dimensions."""
_SIZE = re.compile(
    r"(?:Symbol\('[a-z]+\d+'|Integer|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv"
    r"|Eq|Ne|Lt|Le|Gt|Ge|True|False|(?:positive|nonnegative|integer|real)=|[su]\d+|\d{1,9}+(?!\d)"
    r"|[ (),+/-]|\*(?!\*))*+",
    re.ASCII,
)
"""Arithmetic on sizes, as torch prints it: no other name, no attribute, no text."""
_LONGEST = 400
_REFUSED = frozenset({"as_graph", "as_operator", "as_custom_obj"})
_INPUTS = frozenset({"parameter", "buffer", "tensor_constant", "user_input"})
_VERIFIERS = ("TRAINING", "ATEN", "EDGE")
_TREE: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
_IN = [
    1,
    {
        "type": "builtins.tuple",
        "context": "null",
        "children_spec": [
            {"type": "builtins.tuple", "context": "null", "children_spec": [_TREE]},
            {"type": "builtins.dict", "context": "[]", "children_spec": []},
        ],
    },
]
_OUT = [1, _TREE]


def checked_copy(content: bytes, name: str) -> tuple[bytes, dict[str, Any]]:
    """An archive that ``torch.export.load`` may open, and its graph as JSON values.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        UserError: it is no such archive, or holds what could run code.
    """
    try:
        return _copied(content, name)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{name} cannot be read as a torch.export program; it may be cut off: "
            f"{in_one_line(error)}. Write it again with torch.export.save."
        ) from None


def _copied(content: bytes, name: str) -> tuple[bytes, dict[str, Any]]:
    written, graph = io.BytesIO(), None
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as copy,
    ):
        members = archive.infolist()
        names = [member.filename for member in members]
        top = names[0].partition("/")[0] if names else ""
        _check_members(members, top, len(content), name)
        for member in members:
            path = member.filename.removeprefix(f"{top}/")
            if _EXTRA.fullmatch(path):
                continue
            held = archive.read(member)
            if path == _GRAPH:
                graph = _checked_graph(json.loads(held), name)
                held = json.dumps(graph).encode()
            elif _SETTINGS.fullmatch(path):
                held = json.dumps(_checked_settings(json.loads(held), name)).encode()
            elif path == _SAMPLES or _OLD_TENSORS.fullmatch(path):
                held = _rewritten(held, path, name)
            copy.writestr(zipfile.ZipInfo(f"archive/{path}"), held)
    if graph is None:
        raise UserError(
            f"{name} holds no graph ({_GRAPH}), so it is no program that this reads. Write it with "
            "torch.export.save of torch 2.9 or later, or give the model as ONNX."
        )
    return written.getvalue(), graph


def _check_members(members: list[zipfile.ZipInfo], top: str, size: int, name: str) -> None:
    names = [member.filename for member in members]
    require(
        len(set(names)) == len(names) and sum(member.file_size for member in members) <= 4 * size,
        f"{name} holds a member twice, or members that are far larger than itself: torch.export "
        "does not write such archives. Write it again with torch.export.save.",
    )
    require(
        not any(member.startswith("serialized_exported_program") for member in names),
        f"{name} is a program of an old layout, which torch 2.8 gave up. Export the model again "
        "with torch.export.save of torch 2.9 or later, or give it as ONNX.",
    )
    known = (_KEPT, re.compile(re.escape(_GRAPH)), re.compile(re.escape(_SAMPLES)))
    patterns = (*known, _SETTINGS, _OLD_TENSORS, _RAW, _EXTRA)
    wrong = [
        member
        for member in names
        if not member.startswith(f"{top}/")
        or not any(one.fullmatch(member.removeprefix(f"{top}/")) for one in patterns)
    ]
    require(
        not wrong,
        f"{name} holds {', '.join(wrong[:5])}: only one plain program (torch.export.save) is read. "
        "Compiled libraries and pickled objects can run any code when they are opened, so they are "
        "not. Export the model alone with torch.export.save, or give it as ONNX.",
    )


def _rewritten(held: bytes, path: str, name: str) -> bytes:
    """Tensors and plain containers, read without unpickling anything else and written anew."""
    if not held:
        return held
    try:
        values = torch.load(io.BytesIO(held), map_location="cpu", weights_only=True)
    except Exception:
        raise UserError(
            f"{name}: {path} holds pickled objects that are no tensors. A pickle can run any code "
            "when it is opened, so it is not. Export the model with tensors alone as inputs and "
            "weights, or give it as ONNX."
        ) from None
    written = io.BytesIO()
    torch.save(values, written)
    return written.getvalue()


def _checked_settings(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """Where the bytes of each tensor are, checked and on the CPU."""
    for key, value in settings["config"].items():
        path = str(value["path_name"])
        require(
            not value["use_pickle"] and re.fullmatch(r"(weight|tensor)_\d+", path) is not None,
            f"{name}: {key!r} is kept as a pickled object and not as a plain tensor. A pickle can "
            "run any code when it is opened, so it is not. Export the model with plain weights.",
        )
    _check(settings, name)
    return settings


def _checked_graph(graph: dict[str, Any], name: str) -> dict[str, Any]:
    """The graph without what is not needed to predict, checked and on the CPU."""
    module = graph["graph_module"]
    graph["guards_code"] = []
    graph["verifiers"] = [item for item in graph.get("verifiers", []) if item in _VERIFIERS]
    graph["torch_version"] = ""
    module["metadata"], module["treespec_namedtuple_fields"] = {}, {}
    for node in module["graph"]["nodes"]:
        node["metadata"] = {}
    _check_signature(module["signature"], name)
    for entry in module["module_call_graph"]:
        if entry["fqn"] == "":
            entry["signature"] |= {"in_spec": "", "out_spec": ""}
        else:
            entry["signature"] = None
    module["module_call_graph"] = [e for e in module["module_call_graph"] if e["fqn"] == ""]
    _check(graph, name)
    for entry in module["module_call_graph"]:
        entry["signature"] |= {"in_spec": json.dumps(_IN), "out_spec": json.dumps(_OUT)}
    return graph


def _check_signature(signature: dict[str, Any], name: str) -> None:
    """Check that it reads one tensor, answers with one, and changes nothing."""
    kinds = {kind for item in signature["input_specs"] for kind in item}
    users = [item["user_input"] for item in signature["input_specs"] if "user_input" in item]
    outputs = signature["output_specs"]
    require(
        kinds <= _INPUTS
        and len(users) == 1
        and "as_tensor" in users[0]["arg"]
        and len(outputs) == 1
        and "as_tensor" in outputs[0].get("user_output", {}).get("arg", {}),
        f"{name} has {len(users)} inputs and {len(outputs)} outputs (tensors that it changes while "
        "it answers count as outputs). One tensor of records in and one tensor of scores out is "
        "needed: wrap the model in a module that does this, call eval() on it, and export that.",
    )


def _check(value: Any, name: str) -> None:
    """Check every text, and put every device on the CPU."""
    for key, text in _texts(value):
        if key == "target":
            require(
                _is_operator(text),
                f"{name} calls {text[:80]!r}: only plain operators of torch (torch.ops.aten) are "
                "run. Export the model without operators of your own and without torch.no_grad() "
                "inside, or give it as ONNX.",
            )
            continue
        rule = {"expr_str": _SIZE, "as_string": _ARGUMENT, "as_strings": _ARGUMENT}.get(key, _NAME)
        require(
            len(text) <= _LONGEST
            and rule.fullmatch(text) is not None
            and not any(part.startswith("__") for part in text.split(".")),
            f"{name} holds the text {text[:80]!r} where a plain {key or 'name'} belongs; it could "
            "be code, so the file is not opened. Write it again with torch.export.save.",
        )
    for held in _dictionaries(value):
        refused = _REFUSED & set(held)
        require(
            not refused,
            f"{name} holds {', '.join(sorted(refused))}: graphs within graphs and objects other "
            "than tensors are not read. Export the model without control flow, or give it as ONNX.",
        )
        for key in ("device", "as_device"):
            if isinstance(held.get(key), dict) and set(held[key]) <= {"type", "index"}:
                held[key] = {"type": "cpu", "index": None}


def _is_operator(target: str) -> bool:
    """Whether it is an operator that computes, and no other thing that a name could lead to."""
    if _SIZES.fullmatch(target):
        return True
    if not _ATEN.fullmatch(target):
        return False
    operator: Any = torch
    for part in target.split(".")[1:]:
        operator = getattr(operator, part, None)
    # ``aten.from_file`` and ``aten.save`` take the name of a file.
    return isinstance(operator, torch._ops.OpOverload) and not any(
        "file" in item.name for item in operator._schema.arguments
    )


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text with the key that it stands under; keys themselves stand under none."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, held in value.items():
            yield "", name
            yield from _texts(held, name)
    elif isinstance(value, list):
        for held in value:
            yield from _texts(held, key)


def _dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for held in value.values() if isinstance(value, dict) else value:
        if isinstance(held, dict | list):
            yield from _dictionaries(held)
