"""What overrides of a pack may say."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engine.config import compose_grid
from bench.exchange.admission import RefusedError, packages, readable, runnable
from bench.exchange.code import Foreign

HONEST = [
    "suite=reference/credit",
    "seeds=20",
    "defense=[none,dp_sgd]",
    "attack@baseline=[majority]",
    "defense.dp_sgd.sweep={epsilon:[1.0,3.0]}",
    "attack.attribute_map.sweep=[{access:scores,weight:1.0},{access:labels,weight:4.0}]",
    "exclude=[{dataset:orl,attack:'miface[access=scores*'}]",
    "dataset.table.file=loans/loans.csv",
    "+model.mlp.hidden=[64,32]",
    "++attack.miface._target_=attacks.miface.MIFace",
    "~defense.dp_sgd.sweep",
    "base_seed=20261129",
    "budgets=[null,1000]",
    "label='Crédit'",
]


@pytest.mark.parametrize("word", HONEST)
def test_what_honest_packs_say_may_be_run(word: str) -> None:
    runnable([word], "here")


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("data_root=${oc.env:SECRET}", "interpolation"),
        (r"label=$\{oc.env:SECRET\}", "interpolation"),
        ("label='${oc.env:SECRET}'", "interpolation"),
        ("attack.miface.x={a:[1,'${b}']}", "interpolation"),
        ("attack.${a}.x=1", "cannot be read|interpolation"),
        ("hydra.run.dir=/tmp", "Hydra itself"),
        ("hydra/launcher=x", "Hydra itself"),
        ("+hydra.searchpath=[file:///tmp]", "Hydra itself"),
        ("suite@hydra=x", "Hydra itself"),
        ("seeds=100000000", "at most 1000 is allowed"),
        ("seeds=1e9", "at most 1000 is allowed"),
        ("victims=10000000", "at most 1000000"),
        ("attack.miface.steps=1_000_000_000_000", "at most 10000000"),
        ("attack.miface.steps=" + "9" * 3900, "at most"),
        ("seeds=1,2", "several values"),
        ("seeds=range(1,1000000000)", "several values"),
        ("attack=glob(*)", "several values"),
        (f"a={'[' * 25}{']' * 25}", "deeper"),
        (f"a={'[' * 600}", "cannot be read"),
        (f"a=[{'1,' * 1999}1]", "values|characters"),
        (f"a={'x' * 5000}", "characters"),
        ("seeds", "cannot be read"),
        ("label=a\u202eb", "control characters"),
        ("label=a\nb", "control characters"),
        (f"attack.a.sweep={{{','.join(f'{k}:[1,2,3,4]' for k in 'bcdefg')}}}", "4096 rows"),
    ],
)
def test_what_no_honest_pack_says_is_not_even_read(word: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        readable([word], "here")
    assert str(caught.value).startswith("'here' has the override ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("plugins=[evil]", "--allow-code evil"),
        ("+plugins=[evil]", "--allow-code evil"),
        ("++plugins.0=evil", "--allow-code evil"),
        ("plugins='evil'", "--allow-code evil"),
        ("attack.a={b:{c:[{_target_:os.system}]}}", "--allow-code os"),
        ("attack.a._target_=subprocess.Popen", "--allow-code subprocess"),
        ("attack.a._target_=bench.exchange.pack.Pack", "no shipped option names"),
        ("attack.a={'_target_':evil.X}", "cannot be read|--allow-code evil"),
        ("data_root=/etc", "a setting of the machine"),
        ("store=x", "a setting of the machine"),
        ("tracking.uri=http://a", "a setting of the machine"),
        ("resources.default.num_cpus=9", "a setting of the machine"),
        ("nothing=1", "a setting of the machine"),
        ("suite@attack=x", "another place"),
        ("suite=../../x", "no name of an option"),
        ("attack=['../x']", "no name of an option"),
        ("dataset.table.file=/etc/passwd", "from the data folder"),
        ("dataset.table.file=a/../../b", "from the data folder"),
        ("dataset.table.file='~/x'", "from the data folder"),
        ("model.a.url=http://localhost:1", "from the data folder"),
        (r"dataset.table.file='C:\x'", "from the data folder"),
    ],
)
def test_what_reaches_for_the_machine_is_read_and_not_run(word: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        runnable([word], "here")


def test_packages_are_named_and_may_be_allowed() -> None:
    words = ["plugins=[team]", "attack.a={_target_:other.A}", "model.b._target_=bench.models.X"]
    readable(words, "here")
    assert packages(words) == ["team", "other"]
    runnable(words[:2], "here", ("team", "other"))
    with pytest.raises(RefusedError, match="--allow-code other"):
        runnable(words, "here", ("team",))


def test_overrides_are_bounded_together() -> None:
    for words in (["seeds=1"] * 501, [f"label={'x' * 3000}"] * 7):
        with pytest.raises(RefusedError, match="overrides"):
            readable(words, "here")


SECRET = "canary-3f1c"
PIECES = ["plugins", "hydra", "_target_", "${", "}", "oc.env:CANARY", "=", "[", "]", "{", "(", "'"]
PIECES += [
    *'+~@.,:/\\"$)#*\n ',
    "attack",
    "seeds",
    "this_is_no_module",
    "../",
    "1e9",
    "range(1,9)",
    "\u202e",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=14).map("".join))
def test_any_text_is_let_pass_or_refused_in_a_sentence(word: str) -> None:
    before = set(sys.modules)
    os.environ["CANARY"] = SECRET
    try:
        runnable([word], "here")
    except RefusedError as error:
        assert SECRET not in str(error)
        assert str(error).isprintable()
    else:
        assert "${" not in word
        assert "hydra" not in word.partition("=")[0]
    finally:
        del os.environ["CANARY"]
    assert "this_is_no_module" not in set(sys.modules) - before


def test_a_pack_of_any_shipped_suite_is_admitted_and_one_without_end_is_not() -> None:
    foreign = Foreign("a pack")
    for suite in ("reference/credit", "defenses", "faces"):
        foreign.admit(compose_grid([f"suite={suite}"]))
    with pytest.raises(RefusedError, match="cells"):
        foreign.admit(compose_grid(["suite=defenses", "seeds=1000"]))
