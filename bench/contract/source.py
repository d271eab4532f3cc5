"""What code means: digests of modules that stay the same where nothing but the text has changed.

A digest is taken of the syntax tree, in a form of our own that is equal under Python 3.11 to 3.14.
What cannot change a result is left out: comments, docstrings, formatting, annotations of functions,
imports for type checking only, and the words of error messages. Names that a package passes on
(``from .x import y`` in an ``__init__.py`` that does nothing else) are followed to where they are
defined, so that a module rests on what it uses and not on its neighbours.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

INERT: Mapping[str, str] = {
    "bench": "holds the version number",
    "bench.contract.errors": "holds errors and the words of their messages",
    "bench.contract.options": "refuses options that are not allowed",
}
"""Modules that every module may import and that cannot change a result, each with the reason."""

_HARMLESS_DECORATORS = frozenset(
    {
        "abstractmethod",
        "cache",
        "cached_property",
        "classmethod",
        "contextmanager",
        "final",
        "lru_cache",
        "overload",
        "override",
        "property",
        "staticmethod",
        "wraps",
    }
)
"""Decorators that do not read the annotations of the function they decorate."""


@dataclass(frozen=True)
class Source:
    """The project's code that a result rests on.

    Attributes:
        digests: module name to the digest of what its code means.
        texts: module name to the digest of its text, of every module that was looked at.
    """

    digests: Mapping[str, str]
    texts: Mapping[str, str]


@dataclass(frozen=True)
class _Module:
    """One parsed module.

    Attributes:
        text: digest of its text.
        body: its syntax tree without imports, in the form that is hashed.
        bindings: ``(name, module, original name)`` of every import; an original name of None is
            the module itself.
        passes_on: whether it only imports: nothing of it remains but the names it passes on.
    """

    text: str
    body: str
    bindings: tuple[tuple[str, str, str | None], ...]
    passes_on: bool


@cache
def sources(modules: tuple[str, ...], packages: tuple[str, ...]) -> Source:
    """The code of some modules and of every project module they import, directly or not.

    Args:
        modules: dotted names.
        packages: top-level packages that count as the project.
    """
    digests: dict[str, str] = {}
    texts: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in digests or name in INERT or not _counts(name, packages):
            continue
        digests[name], needs, looked_at = _meaning(name, packages)
        texts |= looked_at
        waiting += needs
    return Source(dict(sorted(digests.items())), dict(sorted(texts.items())))


def changed_texts(texts: Mapping[str, str]) -> list[str]:
    """Modules whose text here differs from these digests, or that are not here."""
    return [name for name, text in texts.items() if _text_digest(name) != text]


def has_file(module: str) -> bool:
    """Whether the text of a module lies in a file, as that of a notebook does not."""
    return _file_of(module) is not None


def forget_sources() -> None:
    """Drop what was remembered, for a process in which source files have changed."""
    for remembered in (sources, _file_of, _parsed, _meaning):
        remembered.cache_clear()


# ---------------------------------------------------------------- modules and what they import
@cache
def _file_of(module: str) -> Path | None:
    """Where a module's text is; found without importing anything.

    Of a package that loads what it offers when it is used, the stub that says what that is.
    """
    top, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module that was not imported, such as that of a notebook
        return None
    if spec is None:
        return None
    if not parts and spec.origin is not None and spec.origin.endswith(".py"):
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        place = Path(folder).joinpath(*parts)
        for path in (
            *(place / f"__init__.{end}" for end in ("pyi", "py")),
            place.parent / f"{place.name}.py",
        ):
            if parts and path.is_file():
                return path
    return None


def _counts(module: str, packages: tuple[str, ...]) -> bool:
    return module.split(".", 1)[0] in packages and _file_of(module) is not None


def _text_digest(module: str) -> str:
    path = _file_of(module)
    if path is None or not path.is_file():
        return ""
    facts = path.stat()
    return _digest_of_file(path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@lru_cache(maxsize=4096)
def _digest_of_file(path: Path, size: int, modified: int, changed: int) -> str:
    """Digest of a text, read once as long as size and times are the same."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@cache
def _parsed(module: str) -> _Module:
    path = _file_of(module)
    assert path is not None
    facts = path.stat()
    return _parsed_file(module, path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@lru_cache(maxsize=4096)
def _parsed_file(module: str, path: Path, size: int, modified: int, changed: int) -> _Module:
    """A module parsed once as long as size and times of its file are the same."""
    text = path.read_bytes()
    tree = ast.parse(text)
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    imports = _Imports(package)
    tree = imports.visit(tree)
    body = [item for item in _essential(tree.body) if not _is_export_list(item)]
    return _Module(
        hashlib.sha256(text).hexdigest()[:16],
        "\n".join(_dump(item) for item in body),
        tuple(sorted(imports.bindings, key=str)),
        path.stem == "__init__" and not body,
    )


@cache
def _meaning(
    module: str, packages: tuple[str, ...]
) -> tuple[str, tuple[str, ...], Mapping[str, str]]:
    """Digest of a module, the modules it needs, and the texts that were read for it."""
    parsed = _parsed(module)
    texts = {module: parsed.text}
    needs: set[str] = set()
    bindings: list[tuple[str, str, str | None]] = []
    for name, base, original in parsed.bindings:
        if not _counts(base, packages):
            bindings.append((name, base, original))
            continue
        home, defined_as = _home(base, original, texts)
        bindings.append((name, home, defined_as))
        if home not in INERT:
            needs.add(home)
            for package in _parents(home):
                texts[package] = _parsed(package).text
                if not _parsed(package).passes_on:
                    needs.add(package)
    document = parsed.body + "\n" + "\n".join(map(str, sorted(bindings, key=str)))
    return hashlib.sha256(document.encode()).hexdigest()[:16], tuple(sorted(needs)), texts


def _home(base: str, original: str | None, texts: dict[str, str]) -> tuple[str, str | None]:
    """Where a name is defined, past the packages that only pass it on."""
    while original is not None and base not in INERT:
        if _file_of(f"{base}.{original}") is not None:
            return f"{base}.{original}", None
        parsed = _parsed(base)
        if not parsed.passes_on:
            break
        texts[base] = parsed.text
        onward = [(b, o) for name, b, o in parsed.bindings if name == original]
        if not onward or _file_of(onward[0][0]) is None:
            break
        base, original = onward[0]
    return base, original


def _parents(module: str) -> Iterator[str]:
    """The packages that importing a module runs as well."""
    package = module.rpartition(".")[0]
    while package:
        if package not in INERT and _file_of(package) is not None:
            yield package
        package = package.rpartition(".")[0]


class _Imports(ast.NodeTransformer):
    """Takes the imports out of a tree and keeps what they bind.

    Imports within functions count like those at the top. What stands below ``if TYPE_CHECKING`` is
    never run and leaves with it.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        self.bindings: set[tuple[str, str, str | None]] = set()

    def visit_If(self, node: ast.If) -> Any:
        test = node.test
        name = test.id if isinstance(test, ast.Name) else getattr(test, "attr", None)
        if name == "TYPE_CHECKING":
            return [self.visit(item) for item in node.orelse]
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.bindings.add((alias.asname or alias.name, alias.name, None))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self.package.split(".")
            parts = parts[: len(parts) - node.level + 1]
            base = ".".join([*parts, base] if base else parts)
        if base != "__future__":
            for alias in node.names:
                self.bindings.add((alias.asname or alias.name, base, alias.name))


def _is_export_list(item: ast.AST) -> bool:
    targets = item.targets if isinstance(item, ast.Assign) else []
    return any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets)


# ---------------------------------------------------------------- the form that is hashed
def meaning(text: str) -> str:
    """The form of a module's text that is hashed; its imports are no part of it."""
    tree = _Imports("").visit(ast.parse(text))
    return "\n".join(_dump(item) for item in _essential(tree.body))


def digest_of_text(text: str) -> str:
    """Digest of a module's text by its meaning; its imports are no part of it."""
    return hashlib.sha256(meaning(text).encode()).hexdigest()[:16]


def _essential(body: Iterable[ast.AST | None]) -> list[ast.AST]:
    """Statements without those that do nothing: docstrings, other bare texts, ``pass``."""
    return [
        item
        for item in body
        if item is not None
        and not isinstance(item, ast.Pass)
        and not (
            isinstance(item, ast.Expr)
            and isinstance(item.value, ast.Constant)
            and (isinstance(item.value.value, str) or item.value.value is Ellipsis)
        )
    ]


_SKIPPED = frozenset({"ctx", "type_comment", "kind", "type_ignores"})


def _dump(node: Any, in_class: bool = False) -> str:
    """A syntax tree as text: names of nodes and of fields, what is empty left out."""
    if isinstance(node, list):
        return "[" + ",".join(_dump(item, in_class) for item in node) + "]"
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__}:{node.value!r}"
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.JoinedStr):
        return "Joined" + _dump(_joined(node), in_class)
    # Annotations of a class are the fields of a dataclass; elsewhere they do nothing.
    if isinstance(node, ast.AnnAssign) and not in_class:
        if node.value is None:
            return ""
        node = ast.Assign(targets=[node.target], value=node.value)
    fields = {name: getattr(node, name, None) for name in node._fields if name not in _SKIPPED}
    fields |= _simplified(node)
    for name in ("body", "orelse", "finalbody"):
        value = fields.get(name)
        if isinstance(value, list):
            fields[name] = _essential(value)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        in_class = isinstance(node, ast.ClassDef)
    parts = (
        f"{name}={_dump(value, in_class)}"
        for name, value in sorted(fields.items())
        if value is not None and value != []
    )
    return f"{type(node).__name__}({','.join(parts)})"


def _simplified(node: ast.AST) -> dict[str, Any]:
    """Fields of a node without what changes nothing: words, annotations, brackets."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if all(_name_of(d) in _HARMLESS_DECORATORS for d in node.decorator_list):
            return {"returns": None, "args": _without_annotations(node.args)}
    elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return {"exc": _wordless(node.exc, 0)}
    elif isinstance(node, ast.Call) and _name_of(node) == "Goal":
        # What pages say of a goal decides no result.
        return {"keywords": [word for word in node.keywords if word.arg != "words"]}
    elif isinstance(node, ast.Call) and _name_of(node) == "require":
        return {"args": _wordless(node, 1).args}
    elif isinstance(node, ast.Delete):
        inner = [t.elts if isinstance(t, ast.Tuple) else [t] for t in node.targets]
        return {"targets": [target for targets in inner for target in targets]}
    return {}


def _name_of(node: ast.expr) -> str:
    """Last part of a dotted name, of a call's function too; empty of anything else."""
    if isinstance(node, ast.Call):
        return _name_of(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _without_annotations(arguments: ast.arguments) -> dict[str, Any]:
    """What a function's signature does when it is called."""
    return {
        "names": [
            [item.arg for item in getattr(arguments, kind)]
            for kind in ("posonlyargs", "args", "kwonlyargs")
        ],
        "rest": [item and item.arg for item in (arguments.vararg, arguments.kwarg)],
        "defaults": _dump(arguments.defaults),
        "kw_defaults": _dump(arguments.kw_defaults),
    }


def _joined(node: ast.JoinedStr) -> list[Any]:
    """Parts of an f-string, neighbouring texts as one: versions of Python cut them differently."""
    parts: list[Any] = []
    for item in node.values:
        text = item.value if isinstance(item, ast.Constant) else None
        if text == "":
            continue
        if isinstance(text, str) and parts and isinstance(parts[-1], str):
            parts[-1] += text
        else:
            parts.append(item if text is None else text)
    return parts


def _wordless(call: ast.Call, first: int) -> ast.Call:
    """A call without the texts in its arguments from ``first`` on: the words of a message."""
    plain = _Wordless()
    args = [plain.visit(a) if i >= first else a for i, a in enumerate(call.args)]
    return ast.Call(func=call.func, args=args, keywords=call.keywords)


class _Wordless(ast.NodeTransformer):
    """Empties the texts of an expression."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.JoinedStr:
        values = [self.visit(v) for v in node.values if isinstance(v, ast.FormattedValue)]
        return ast.JoinedStr(values=values)
