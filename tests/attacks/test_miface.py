from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from attacks.miface import FILTERS, MIFace, cost_and_gradient, numeric_cost_and_gradient
from bench.contract import Exposure, Knowledge
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, photographs, target


def world(gain: float = 2.0) -> tuple[nn.Module, Exposure, Knowledge]:
    network = target(photographs(PEOPLE, 4, seed=1), gain)
    return network, exposed(network, "weights"), knowledge()


def confidence(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(x).softmax(1).diagonal()


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ({"gamma": 0.04, "beta": 5000, "alpha": 5000}, "gamma"),
        ({"gamma": 0.001}, "gamma"),
        ({"gamma": 1e-30, "alpha": 400}, "alpha"),
        ({"gamma": 1e-30, "beta": 5, "step_size": 200.0}, "window"),
        ({"gamma": 1e-30, "beta": 20, "step_size": 200.0}, "window"),
    ],
)
def test_every_stop_setting_reaches_the_class(stop: dict[str, Any], reason: str) -> None:
    """FIELD 2, defect 2: lowering the threshold or the window must not end a run after a step."""
    network, exposure, held = world(gain=4.0 if reason == "window" else 10.0)
    attack = MIFace(**{"step_size": 0.5} | stop)
    out = attack.run(exposure, held, 0, "cpu")
    # A threshold is a confidence; a window ends where nothing improves any more, .955 at worst.
    assert confidence(network, out.values).min() >= (0.9 if reason == "window" else 0.95)
    assert set(out.info["stop_reasons"]) == {reason}
    if reason != "alpha":
        assert max(out.info["steps"]) < attack.alpha


def test_the_best_image_is_kept() -> None:
    """FIELD 2, defect 7: best-so-far never gets worse, however wild the steps."""
    network, exposure, held = world(gain=10.0)
    costs = [
        MIFace(step_size=200.0, alpha=alpha, gamma=1e-30).run(exposure, held, 0, "cpu")
        for alpha in range(1, 12)
    ]
    table = torch.tensor([out.info["cost"] for out in costs])
    assert (table.diff(dim=0) <= 0).all()
    for out in costs:
        assert torch.allclose(
            1 - confidence(network, out.values), torch.tensor(out.info["cost"]), atol=1e-5
        )


def test_the_cost_takes_logits() -> None:
    """FIELD 2, defect 8: the network returns logits; the softmax is the attack's own."""
    network, exposure, _ = world()
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    classes = torch.arange(4)
    cost, gradient = cost_and_gradient(exposure.network(), x, classes)
    x.requires_grad_()
    plain = 1 - network(x).softmax(1).gather(1, classes.unsqueeze(1)).squeeze(1)
    (expected,) = torch.autograd.grad(plain.sum(), x)
    assert torch.allclose(cost, plain, atol=1e-6)
    assert torch.allclose(gradient, expected, atol=1e-6)
    assert not torch.allclose(network(x).sum(1), torch.ones(4))


def test_a_saturated_cost_keeps_its_digits() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 2, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.stack([torch.ones(144), -torch.ones(144)]) / 10)
    x = torch.ones(1, *SHAPE)
    sure, slope = cost_and_gradient(network, x, torch.tensor([0]))
    assert 0 < float(sure) < 1e-12
    assert float(slope.abs().max()) > 0
    wrong, back = cost_and_gradient(network, x, torch.tensor([1]))
    assert float(wrong) == 1.0
    assert torch.allclose(back, -slope)


def test_images_stay_images_and_runs_repeat() -> None:
    _, exposure, held = world()
    attack = MIFace(step_size=50.0, alpha=50, starts=(0.0, 0.5), process=("denoise", "sharpen"))
    first, again = (attack.run(exposure, held, seed, "cpu") for seed in (0, 0))
    assert torch.equal(first.values, again.values)
    assert first.values.shape == (PEOPLE, *SHAPE)
    assert first.values.min() >= 0 and first.values.max() <= 1
    assert exposure.meter.queries == 0 and exposure.meter.backward_passes > 0


def test_the_best_start_is_returned() -> None:
    _, exposure, held = world()
    few = {"step_size": 0.2, "alpha": 20}
    black, grey, both = (
        torch.tensor(MIFace(starts=s, **few).run(exposure, held, 0, "cpu").info["cost"])
        for s in ((0.0,), (0.5,), (0.0, 0.5))
    )
    assert torch.allclose(both, torch.minimum(black, grey))


def test_a_flat_target_ends_by_the_window() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, PEOPLE))
    nn.init.zeros_(network[1].weight)
    out = MIFace(beta=7).run(exposed(network, "weights"), knowledge(), 0, "cpu")
    assert out.info["stop_reasons"] == ["window"] * PEOPLE
    assert out.info["steps"] == [7] * PEOPLE


def test_numeric_gradients_are_the_gradients() -> None:
    network, exposure, _ = world()
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    classes = torch.tensor([0, 5, 2, 2])
    cost, gradient = cost_and_gradient(network, x, classes)
    numeric = numeric_cost_and_gradient(exposure.scores, x, classes, 0.01)
    assert torch.allclose(numeric[0], cost, atol=1e-6)
    assert torch.allclose(numeric[1], gradient, atol=0.02 * float(gradient.abs().max()))
    assert exposure.meter.queries == 4 * (2 * 144 + 1)


def test_probes_stay_images() -> None:
    asked: list[torch.Tensor] = []

    def scores(x: torch.Tensor) -> torch.Tensor:
        asked.append(x.clone())
        return torch.full((len(x), 2), 0.5)

    black = torch.zeros(1, *SHAPE)
    _, gradient = numeric_cost_and_gradient(scores, black, torch.tensor([1]), 0.3)
    seen = torch.cat(asked)
    assert float(seen.min()) == 0 and float(seen.max()) == pytest.approx(0.3)
    assert torch.equal(gradient, black)


def test_scores_reach_the_class() -> None:
    network = target(photographs(PEOPLE, 4, seed=1), 10.0)
    options: dict[str, Any] = {"step_size": 2.0, "alpha": 40, "gamma": 0.02}
    exposure = exposed(network, "scores")
    out = MIFace(access="scores", **options).run(exposure, knowledge(), 0, "cpu")
    white = MIFace(**options).run(exposed(network, "weights"), knowledge(), 0, "cpu")
    assert confidence(network, out.values).min() >= 0.9
    assert torch.allclose(out.values, white.values, atol=0.05)
    price = 2 * 144 + 1
    # A run that has stopped asks no more: all runs' first looks, then one a step.
    assert exposure.meter.queries == price * (PEOPLE + sum(out.info["steps"]))


@pytest.mark.parametrize(("difference", "reasons"), [(0.001, {"flat"}), (1.0, {"alpha"})])
def test_rounding_hides_small_differences_only(difference: float, reasons: set[str]) -> None:
    network = target(photographs(PEOPLE, 4, seed=1), 10.0)
    exposure = exposed(network, "scores", lambda s: torch.round(s, decimals=2))
    attack = MIFace(access="scores", alpha=3, starts=(0.5,), difference=difference)
    out = attack.run(exposure, knowledge(), 0, "cpu")
    assert reasons & set(out.info["stop_reasons"])


@pytest.mark.parametrize("budget", [0, 5, 2000, 5000])
def test_a_budget_is_kept(budget: int) -> None:
    network = target(photographs(PEOPLE, 4, seed=1), 10.0)
    exposure = exposed(network, "scores", budget=budget)
    out = MIFace(access="scores", step_size=0.1).run(exposure, knowledge(), 0, "cpu")
    assert exposure.meter.queries <= budget
    assert out.info["stop_reasons"] == ["budget"] * PEOPLE
    assert out.values.shape == (PEOPLE, *SHAPE)


def test_doubled() -> None:
    assert MIFace(alpha=7).doubled().alpha == 14


def test_filters() -> None:
    speck = torch.zeros(1, *SHAPE)
    speck[..., 5, 5] = 1.0
    assert FILTERS["denoise"](speck).sum() == 0
    step = torch.full((1, *SHAPE), 0.3)
    step[..., 6:] = 0.6
    assert FILTERS["sharpen"](step)[0, 0, 0, 5] < 0.3 and FILTERS["sharpen"](step)[0, 0, 0, 6] > 0.6
