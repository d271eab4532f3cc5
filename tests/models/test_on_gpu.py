from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.models.cnn import Cnn
from bench.models.mlp import Mlp
from bench.models.replicas import Training, train_together
from bench.models.training import train
from defenses.dp_sgd import DpSgd
from defenses.dropout import Dropout
from defenses.gradient_pruning import GradientPruning
from defenses.label_smoothing import LabelSmoothing
from tests.models.records import images


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("layers", [[], [Dropout()], [DpSgd(epochs=1, batch_size=32)]])
@pytest.mark.parametrize("model", [Mlp(epochs=2), Cnn(epochs=2)])
def test_a_target_trains_on_the_gpu_from_the_weights_it_has_on_the_cpu(
    model: Any, layers: Any
) -> None:
    splits = images(people=8)
    on_gpu, report = train(model, layers, splits, 0, "cuda")
    on_cpu, _ = train(model, layers, splits, 0, "cpu")
    assert on_gpu.head.weight.is_cuda
    assert (report.privacy is not None) == any(isinstance(layer, DpSgd) for layer in layers)
    if not layers:  # noise comes from another generator there
        torch.testing.assert_close(
            on_gpu.head.weight.cpu(), on_cpu.head.weight, rtol=1e-2, atol=1e-2
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("layers", [[], [LabelSmoothing()], [GradientPruning(0.5)], [Dropout()]])
def test_targets_trained_together_on_the_gpu_are_what_they_are_alone(layers: Any) -> None:
    model, splits = Mlp(epochs=2), images(people=8)
    trainings = [Training(model, layers, splits, seed) for seed in range(3)]
    outcomes = train_together(trainings, "cuda")
    # A GPU draws masks within the kernel that applies them: dropout is trained apart there.
    apart = any(isinstance(layer, Dropout) for layer in layers)
    assert [outcome.replicas for outcome in outcomes] == [1 if apart else 3] * 3
    for one, outcome in zip(trainings, outcomes, strict=True):
        assert not isinstance(outcome.value, Exception)
        alone, _ = train(model, layers, splits, one.seed, "cuda")
        together = outcome.value[0].state_dict()
        for name, value in alone.state_dict().items():
            assert float((together[name] - value).norm()) <= 1e-2 * float(value.norm())
