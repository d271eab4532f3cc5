"""The digest of code moves with what the code does, and with nothing else."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.contract.source import INERT, changed_texts, forget_sources, meaning, sources

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "attacks", "defenses")

CODE = '''
"""A module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from digested.base import require

if TYPE_CHECKING:
    from digested.types import Kind


@dataclass(frozen=True)
class Part:
    """Does something."""

    weight: float = 0.5
    """How much."""

    def run(self, x: float, *more: int, scale: float = 2.0) -> float:
        """Do it."""
        require(x > 0, f"x is {x}; give a number above 0.")
        total: float = 0.0
        for item in more:
            total += item  # one by one
        if total > 9:
            raise ValueError("too much")
        return self.weight * (x + total) * scale
'''

SAME: dict[str, Callable[[str], str]] = {
    "comment": lambda s: s.replace("# one by one", "# each of them\n            # in turn"),
    "docstring": lambda s: s.replace('"""Do it."""', '"""Do it.\n\n        Quickly.\n        """'),
    "no docstring": lambda s: s.replace('        """Do it."""\n', ""),
    "field docstring": lambda s: s.replace('    """How much."""\n', ""),
    "blank lines": lambda s: s.replace("\n\n", "\n\n\n"),
    "quotes": lambda s: s.replace('"too much"', "'too much'"),
    "brackets": lambda s: s.replace("return self.weight", "return (self.weight)"),
    "broken line": lambda s: s.replace("(x + total)", "(\n            x + total\n        )"),
    "words of a check": lambda s: s.replace("give a number above 0", "it must be positive"),
    "words of an error": lambda s: s.replace("too much", "that is too much"),
    "annotation": lambda s: s.replace("x: float, *more: int", "x: int, *more: float"),
    "annotated result": lambda s: s.replace("-> float", "-> int"),
    "annotated variable": lambda s: s.replace("total: float = 0.0", "total = 0.0"),
    "types only": lambda s: s.replace("import Kind", "import Kind, Other"),
    "order of imports": lambda s: s.replace("from digested.base import require\n", "").replace(
        "from dataclasses", "from digested.base import require\nfrom dataclasses"
    ),
}

OTHER: dict[str, Callable[[str], str]] = {
    "constant": lambda s: s.replace("total > 9", "total > 8"),
    "default": lambda s: s.replace("scale: float = 2.0", "scale: float = 3.0"),
    "option": lambda s: s.replace("weight: float = 0.5", "weight: float = 0.6"),
    "type of an option": lambda s: s.replace("weight: float = 0.5", "weight: int = 0.5"),
    "operator": lambda s: s.replace("x + total", "x - total"),
    "check": lambda s: s.replace("require(x > 0", "require(x >= 0"),
    "class of an error": lambda s: s.replace("raise ValueError", "raise KeyError"),
    "decorator": lambda s: s.replace("frozen=True", "frozen=False"),
    "dropped line": lambda s: s.replace("total += item  # one by one", "pass"),
    "name of an argument": lambda s: s.replace("scale", "factor"),
    "int for float": lambda s: s.replace("scale: float = 2.0", "scale: float = 2"),
    "another import": lambda s: s.replace("digested.base import", "digested.other import"),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "digested"
    folder.mkdir()
    for name, text in {
        "__init__": "from digested.deep import X\n__all__ = ['X']\n",
        "code": CODE,
        "base": "def require(a, b): pass\n",
        "other": "def require(a, b): pass\n",
        "types": "Kind = int\nOther = str\n",
        "top": "import json\nfrom digested import X, low\n",
        "low": "def f():\n    from . import deep\n    return deep.X\n",
        "deep": "X = 1\n",
        "aside": "X = 1\n",
    }.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_sources()
    yield folder
    forget_sources()


def digests(module: str = "digested.code") -> dict[str, str]:
    forget_sources()
    return dict(sources((module,), ("digested",)).digests)


@pytest.mark.parametrize("name", SAME)
def test_what_changes_nothing_leaves_the_digest(package: Path, name: str) -> None:
    before, text = digests(), SAME[name](CODE)
    assert text != CODE
    (package / "code.py").write_text(text)
    assert digests() == before


@pytest.mark.parametrize("name", OTHER)
def test_what_changes_something_moves_the_digest(package: Path, name: str) -> None:
    before, text = digests(), OTHER[name](CODE)
    assert text != CODE
    (package / "code.py").write_text(text)
    assert digests()["digested.code"] != before["digested.code"]


def test_imports_are_followed_to_where_a_name_is_defined(package: Path) -> None:
    before = digests("digested.top")
    assert set(before) == {"digested.top", "digested.low", "digested.deep"}
    assert set(digests()) == {"digested.code", "digested.base"}
    (package / "aside.py").write_text("X = 2\n")
    assert digests("digested.top") == before
    (package / "deep.py").write_text("X = 2\n")
    after = digests("digested.top")
    assert {k for k in after if after[k] != before[k]} == {"digested.deep"}
    # A package that passes on another thing under the same name is another program.
    (package / "__init__.py").write_text("from digested.aside import X\n")
    assert "digested.aside" in digests("digested.top")
    # One that does something itself counts.
    (package / "__init__.py").write_text("from digested.deep import X\nX += 1\n")
    assert "digested" in digests("digested.top")


def test_a_changed_text_is_noticed_without_parsing(package: Path) -> None:
    forget_sources()
    texts = sources(("digested.top",), ("digested",)).texts
    assert changed_texts(texts) == []
    (package / "deep.py").write_text("X = 1  # the same\n")
    assert changed_texts(texts) == ["digested.deep"]
    (package / "low.py").unlink()
    forget_sources()
    assert set(changed_texts(texts)) == {"digested.deep", "digested.low"}


GOLDEN = """
match x:
    case {"a": [1, *rest], **more} if (y := rest):
        del (a, b)
    case _:
        pass
async def f(a, /, b=1, *, c: int = 2, **d) -> "text":
    async with g() as (h, i):
        yield lambda z, *w: z[1:2, ...] @ w
    try:
        print(f"{a!r:>{b}} and {c=}" "joined" f"{d['k']}", b"bytes", 1_000, 0x1F, 1e3, 2j)
    except* (ValueError, KeyError) as error:
        raise RuntimeError(f"no {error}") from error
    finally:
        assert not {i for i in range(3) if i} <= {*a}, "words"
class C(Base, metaclass=M): ...
"""  # of Python 3.12 in its last line


PRINT = """
import importlib.util, pathlib, sys
root, packages = pathlib.Path(sys.argv[1]), sys.argv[2:]
spec = importlib.util.spec_from_file_location("source", root / "bench/contract/source.py")
module = sys.modules["source"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
places = sorted(path for name in packages for path in (root / name).rglob("*.py"))
for text in (sys.stdin.read(), *(path.read_text(encoding="utf-8") for path in places)):
    print(module.digest_of_text(text))
"""


def test_the_form_is_the_same_under_every_python() -> None:
    """The golden form, and every interpreter that is here, if it can read the project."""
    text = GOLDEN
    form = meaning(text)
    assert form == meaning(ast.unparse(ast.parse(text)))
    outputs = {}
    others = (f"python3.{minor}" for minor in range(11, 15) if minor != sys.version_info.minor)
    for name in (*others, sys.executable):
        path = shutil.which(name)
        if path is None:
            continue
        ran = subprocess.run(
            [path, "-c", PRINT, str(ROOT), *PACKAGES],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode == 0:
            outputs[name] = ran.stdout
    assert sys.executable in outputs
    assert len(set(outputs.values())) == 1, {k: hash(v) for k, v in outputs.items()}
    assert outputs[sys.executable].splitlines()[0] == "3911a92f93bae993"


def test_what_cannot_change_a_result_is_in_no_identity() -> None:
    from bench.engine.graph import KINDS
    from bench.engine.stages import module_of

    for kind in KINDS:
        names = set(sources((module_of(kind),), PACKAGES).digests)
        assert module_of(kind) in names
        assert not names & set(INERT)
        assert not {n for n in names if n.startswith(("bench.report", "bench.cli", "bench.decide"))}
        assert not names & {
            "bench.engine.driving.driver",
            "bench.engine.store",
            "bench.engine.worker",
        }
