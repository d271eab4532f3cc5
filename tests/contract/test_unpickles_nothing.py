"""No code of ours unpickles: who can change a pickle runs code where it is read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = frozenset(
    {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
)
CALLS = frozenset({"read_pickle", "Unpickler", "unsafe_load", "full_load"})
_SENDING = ("cargo", "local", "ray", "zygote")
KNOWN = {
    # scikit-learn keeps these pictures in a pickle; the README and the card say so.
    "bench/data/olivetti.py": {"fetch_olivetti_faces"},
    # What a driver and its own workers send each other, over pipes of theirs and Ray.
    **{f"bench/engine/backends/{name}.py": {"pickle"} for name in _SENDING},
}


def unpickling(source: str) -> Iterator[str]:
    """Names of modules and calls by which a pickle can be read."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            name = called.rpartition(".")[2]
            words = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if (
                name in CALLS
                or name.startswith("fetch_olivetti")
                or (called == "torch.load" and words.get("weights_only") != "True")
                or words.get("allow_pickle", "False") != "False"
                or words.get("weights_only", "True") != "True"
            ):
                yield name


def test_what_would_unpickle_is_seen() -> None:
    for line in (
        "import pickle",
        "from joblib import load",
        "torch.load(p)",
        "np.load(p, allow_pickle=True)",
        "pd.read_pickle(p)",
        "f(weights_only=False)",
    ):
        assert list(unpickling(line)), line
    assert not list(unpickling("np.load(p, allow_pickle=False); json.load(f)"))
    assert not list(unpickling("torch.load(p, weights_only=True)"))


def test_nothing_of_ours_unpickles() -> None:
    seen = 0
    for folder in ("bench", "attacks", "defenses"):
        for path in (ROOT / folder).rglob("*.py"):
            seen += 1
            place = path.relative_to(ROOT).as_posix()
            uses = set(unpickling(path.read_text(encoding="utf-8"))) - KNOWN.get(place, set())
            assert not uses, f"{place}: {uses}"
    assert seen > 100
