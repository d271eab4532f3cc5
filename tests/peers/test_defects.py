"""What went wrong in other inversion code, as tests of this one.

One test for each kind of defect that this project could have and that no other test covers. The
others stand where the code is: label-only and argmax (tests/defenses/test_release.py); stop rules,
best-so-far and logits (tests/attacks/test_miface.py); constraints on latents (tests/attacks);
metrics at chance for what ignores the class (tests/metrics/test_class_representative.py); active
and stochastic defenses, refusals of differential privacy (tests/defenses); a defense off the
attack's path and failures as rows (tests/engine, tests/report); run keys
(tests/contract/test_identity.py); seeded ties (tests/attacks/test_csmia.py).
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import attacks
import bench
import defenses
from attacks.common.priors import PcaPrior
from attacks.miface import MIFace
from attacks.prior_inversion import PriorInversion
from bench.contract import (
    Attack,
    Defense,
    Model,
    Prior,
    Query,
    ReleaseDefense,
    Split,
    TrainingDefense,
    UserError,
    generator,
)
from bench.engine.components import build
from bench.engine.conf import list_options
from bench.engine.config import compose_grid
from bench.engine.deployment import Deployment
from bench.engine.execution import execute, prepare
from bench.metrics import attribute, evaluators
from bench.metrics.utility import utility
from bench.models.mlp import Mlp
from bench.models.training import restore, train
from defenses.rounding import Rounding
from tests.attacks import images
from tests.defenses.owners import owner, quick
from tests.metrics.faces import judged
from tests.models.records import described, table

ASKED = Query(torch.zeros(1, 1), generator(0))

ROOT = Path(__file__).parents[2]
KINDS: dict[str, type] = {"attack": Attack, "defense": Defense, "model": Model}


@cache
def components(group: str) -> dict[str, list[Any]]:
    """Every row of every option file of a group, built, stacks and sweeps expanded."""
    names = ",".join(list_options(group))
    options = compose_grid([f"{group}=[{names}]"]).options[group]
    built = {}
    for option in options:
        layers = [dict(layer) for layer in option.layers]
        priors = [layer.pop("prior") for layer in layers if "prior" in layer]
        assert all(isinstance(build(prior, option.where), Prior) for prior in priors)
        built[option.name] = [build(layer, option.where) for layer in layers]
    return built


@pytest.mark.parametrize("package", [attacks, defenses, bench])
def test_every_module_can_be_imported(package: Any) -> None:
    """A defense package and an attack stage could not even be imported, and no test noticed."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


@pytest.mark.parametrize("group", KINDS)
def test_every_option_file_builds_with_all_its_variants(group: str) -> None:
    """Options named a class with missing defaults; they failed when first run."""
    built = components(group)
    assert {name.partition("[")[0] for name in built} >= set(list_options(group)) - {"none"}
    assert all(isinstance(part, KINDS[group]) for parts in built.values() for part in parts)


def test_every_release_keeps_the_label_whatever_the_batch() -> None:
    """A batch of labels came back all ones, and defenses moved the argmax on most rows."""
    parts = [p for ps in components("defense").values() for p in ps]
    released = [p for p in parts if isinstance(p, ReleaseDefense)]
    assert released
    scores = (3 * torch.randn(60, 7, generator=generator(0))).softmax(1)
    for defense in map(quick, released):
        assert isinstance(defense, ReleaseDefense)
        asked = dataclasses.replace(ASKED, fitted=defense.prepare(owner(7, n=50), 0))
        answer = defense.release(scores, asked)
        assert torch.equal(answer.argmax(1), scores.argmax(1)), defense
        alone = torch.cat([defense.release(row.unsqueeze(0), asked) for row in scores])
        assert torch.allclose(answer, alone, rtol=0, atol=1e-6 if asked.fitted else 0.0), defense


def test_utility_is_that_of_the_released_answers() -> None:
    """Accuracy was measured before the defense, so that its price was not seen."""
    splits, model = table(), Mlp(hidden=(8,), epochs=2)
    network = train(model, [], splits, 0, "cpu")[0]
    x, y = splits.test.x, splits.test.y
    found = []
    for release in ([], [Rounding(decimals=0)]):
        deployed = Deployment(splits, model, [], release, 0, network, "cpu")
        with torch.no_grad():
            scores, labels = deployed.interface(0)
            answers = labels(x), scores(x)
        found.append(utility(*answers, y, splits.card.n_classes))
    assert found[0]["accuracy"] == found[1]["accuracy"]
    assert found[0]["log_loss"] != found[1]["log_loss"]


ATTACKS: list[Any] = [
    MIFace(alpha=150, step_size=0.5, starts=(0.0, 0.5)),
    PriorInversion(loss="margin", steps=40, samples=60),
    PriorInversion(access="scores", steps=8, samples=60),
]


@cache
def world() -> tuple[Any, Any]:
    network = images.target(images.photographs(images.PEOPLE, 4, seed=1), 10.0)
    held = images.knowledge()
    prior = PcaPrior(20).fit(held, 0, "cpu")
    return network, dataclasses.replace(held, prior=prior)


def invert(attack: Any, classes: Tensor) -> Tensor:
    """The target's confidence in each class; every image must be named as its class."""
    network, held = world()
    held = dataclasses.replace(held, classes=classes)
    out = attack.run(images.exposed(network, attack.access), held, 0, "cpu").values
    with torch.no_grad():
        scores: Tensor = network(out).softmax(1)
    assert torch.equal(scores.argmax(1), classes)
    return scores.gather(1, classes.unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize("attack", ATTACKS)
def test_results_belong_to_a_class_not_to_a_place(attack: Any) -> None:
    """A score was read at [i, i]: right only where the class happened to equal the position."""
    classes = torch.arange(images.PEOPLE)
    back = invert(attack, classes.flip(0)).flip(0)
    assert torch.allclose(invert(attack, classes), back, atol=0.1)


@pytest.mark.parametrize("attack", ATTACKS)
def test_class_zero_is_attacked(attack: Any) -> None:
    """`if cls:` left the first class out."""
    assert invert(attack, torch.tensor([0])).item() > 2 / images.PEOPLE


@pytest.mark.parametrize(
    "defense",
    [
        pytest.param(parts, id=name)
        for name, parts in components("defense").items()
        if all(isinstance(p, TrainingDefense) for p in parts)
        and all(
            "table" in p.modalities and p.needs <= {"blocks", "steps", "descent"} for p in parts
        )
    ],
)
def test_no_training_looks_at_the_test_split(defense: list[Any]) -> None:
    """The best epoch was chosen on the test set."""
    splits = described()
    rng = generator(9)
    forged = Split(
        torch.randn(splits.test.x.shape, generator=rng),
        splits.test.y.flip(0),
        splits.test.person,
        splits.test.s,
    )
    model = Mlp(hidden=(8,), epochs=2)
    one, two = (
        train(model, defense, s, 3, "cpu")[0].state_dict()
        for s in (splits, dataclasses.replace(splits, test=forged))
    )
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_noise_is_drawn_anew_and_not_one_vector_for_all() -> None:
    """A noise defense added one constant vector to every row."""
    parts = [p for ps in components("defense").values() for p in ps]
    noisy = next(p for p in parts if type(p).__name__ == "ClipNoise")
    rng = generator(0)
    update = {"w": torch.zeros(4, 50)}
    first, second = (noisy.share(update, rng)["w"] for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


def test_weights_are_loaded_strictly() -> None:
    """A checkpoint that did not fit was loaded with strict=False: attack accuracy 0, in silence."""
    model, splits = Mlp(hidden=(8,), epochs=1), table()
    weights = dict(train(model, [], splits, 0, "cpu")[0].state_dict())
    restore(model, [], splits, 0, weights, "cpu")
    weights.pop("head.bias")
    with pytest.raises(Exception, match=r"head\.bias"):
        restore(model, [], splits, 0, weights, "cpu")
    judge = dict(judged()[0].evaluator)
    judge.pop("cnn.body.5.bias")
    with pytest.raises(RuntimeError, match=r"body\.5\.bias"):
        evaluators.network(judge)


def test_a_metric_that_fails_is_seen(
    toy_words: Any, toy_conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`try: metric; except: print`, and the cell was left out of the mean."""

    def broken(*_: Any) -> None:
        raise UserError("The metric has no answer.")

    monkeypatch.setattr(attribute, "score", broken)
    grid, plan = prepare(toy_words("seeds=1", "defense=[none]", "attack=[toy]"), toy_conf)
    outcome = execute(grid, plan, toy_conf).outcome
    assert len(outcome.records) == len(plan.trials) > 0
    for record in outcome.records:
        assert record.status != "done" and record.score is None
        assert record.error is not None and "no answer" in record.error.message


SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9]{20,}|xox[baprs]-[0-9A-Za-z-]{10,}"
    r"|hf_[A-Za-z0-9]{30,}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:api_?key|password|secret)\s*=\s*['\"]\w{8,}"
)


def test_no_credentials_in_the_tree() -> None:
    """Keys of paid services stood in the source."""
    assert SECRET.search("api_key = " + "'abcdefgh1234'")
    for folder in ("bench", "attacks", "defenses", "conf", "tests", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if (
                path.suffix in {".py", ".yaml", ".md", ".toml", ".js", ".json"}
                or path.name == "run"
            ):
                found = SECRET.search(path.read_text(encoding="utf-8"))
                assert found is None, f"{path}: {found and found[0]}"


def test_nobody_has_to_press_a_key(tmp_path: Path) -> None:
    """`input()` waited for an answer in the middle of a batch job."""
    command = "import sys; sys.argv[0] = 'invbench'; from bench.cli import main; main()"
    words = ["plan", "suite=smoke", f"store={tmp_path}", "tracking=none"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", command, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "trials" in done.stdout
