from __future__ import annotations

import pytest

from bench.contract import UserError
from bench.engine.components import build, locate, normalise

PACKAGES = ("bench", "attacks", "defenses", "tests")
TOY = "tests.toys.ToyTable"


def test_normalise_fills_defaults_so_that_spelling_them_out_is_the_same() -> None:
    short = normalise({"_target_": TOY}, "dataset 'toy'", PACKAGES)
    long = normalise({"_target_": TOY, "rows": 120}, "dataset 'toy'", PACKAGES)
    assert short == long == {"_target_": TOY, "rows": 120, "needs_file": None}


def test_whole_numbers_become_floats_where_a_float_is_declared() -> None:
    config = {"_target_": "tests.toys.ToyRelease", "weight": 1}
    value = normalise(config, "defense 'toy'", PACKAGES)["weight"]
    assert isinstance(value, float)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "needs a '_target_'"),
        ({"_target_": "os.system"}, "outside the packages"),
        ({"_target_": "tests.toyz.ToyTable"}, "there is no module 'tests.toyz'. Did you mean"),
        ({"_target_": "tests.toys.ToyTabel"}, "Did you mean 'tests.toys.ToyTable'"),
        ({"_target_": "tests.toys.generator"}, "is no component"),
        ({"_target_": TOY, "rowz": 3}, "unknown key 'rowz'. Did you mean 'rows'"),
        ({"_target_": TOY, "rows": "many"}, "'many' is text, it must be a whole number"),
        ({"_target_": TOY, "rows": True}, "True is true or false, it must be a whole number"),
        ({"_target_": TOY, "rows": 1.5}, "1.5 is a number, it must be a whole number"),
        (
            {"_target_": "tests.toys.ToyAttack", "access": "everything"},
            "'everything' is not allowed",
        ),
    ],
)
def test_mistakes_are_one_sentence(config: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(config, "option 'x'", PACKAGES)
    assert message in str(caught.value)
    assert str(caught.value).startswith("option 'x'")
    assert "\n" not in str(caught.value)


def test_only_listed_packages_are_imported() -> None:
    with pytest.raises(UserError, match="outside the packages"):
        locate("subprocess.Popen", "attack 'x'", PACKAGES)
