from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from bench.contract import Model, Recipe, UserError
from bench.models.cnn import Cnn
from bench.models.mlp import Mlp
from bench.models.resnet import BasicBlock, ResNet
from bench.models.softmax import Softmax
from bench.models.training import train
from defenses.dp_sgd import DpSgd
from defenses.dropout import Dropout
from defenses.freezing import Freezing
from tests.models.records import images

SMALL_RESNET = ResNet(stages=(1, 2), width=4, epochs=1)
MODELS: list[Model] = [
    Softmax(),
    Mlp(hidden=(8, 5)),
    Mlp(hidden=(8,), activation="sigmoid"),
    Cnn(channels=(8, 8)),
    SMALL_RESNET,
]


@pytest.mark.parametrize("model", MODELS)
def test_the_seed_alone_decides_the_weights(model: Model) -> None:
    before = torch.get_rng_state()
    first, again, other = (model.build((1, 16, 16), 3, seed) for seed in (5, 5, 6))
    torch.manual_seed(0)  # a different global state must not matter
    again = model.build((1, 16, 16), 3, 5)
    torch.set_rng_state(before)
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c) or bool((a == a.flatten()[0]).all())  # norms start at 1 and 0


@pytest.mark.parametrize("model", MODELS)
def test_building_leaves_the_global_generator_alone(model: Model) -> None:
    before = torch.get_rng_state()
    model.build((1, 16, 16), 3, 5)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("model", MODELS)
def test_logits_of_a_record_do_not_depend_on_its_batch(model: Model) -> None:
    network = model.build((1, 16, 16), 3, 0).eval()
    x = torch.rand(7, 1, 16, 16)
    with torch.no_grad():
        together = network(x)
        alone = torch.cat([network(row[None]) for row in x])
    assert together.shape == (7, 3)
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 17, 16), (3, 28, 28), (1, 112, 92)])
def test_cnn_takes_any_picture_of_16_pixels_or_more(shape: tuple[int, ...]) -> None:
    assert Cnn().build(shape, 4, 0)(torch.rand(2, *shape)).shape == (2, 4)


def test_models_offer_the_blocks_that_they_have() -> None:
    assert len(Softmax().build((6,), 2, 0).blocks) == 0
    assert "blocks" not in Softmax().offers
    assert len(Mlp(hidden=(4, 3)).build((6,), 2, 0).blocks) == 2
    network = Cnn().build((1, 32, 32), 2, 0)
    assert len(network.blocks) == 3
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())
    assert "blocks" in Mlp().offers & Cnn().offers


def test_recipe_is_what_the_options_say() -> None:
    recipe = Mlp(epochs=7, batch_size=3, lr=0.5, optimizer="sgd", schedule="cosine").recipe
    assert recipe == Recipe(7, 3, 0.5, "sgd", 0.0, "cosine")


def test_channels_are_multiples_of_the_groups() -> None:
    with pytest.raises(UserError, match="channels"):
        Cnn(channels=(8, 12))


def test_cnn_refuses_what_it_cannot_halve() -> None:
    with pytest.raises(UserError, match="needs images"):
        Cnn().build((6,), 2, 0)
    with pytest.raises(UserError, match="too many for 16x16"):
        Cnn(channels=(8,) * 5).build((1, 16, 16), 2, 0)


def test_resnet18_is_the_network_of_the_paper() -> None:
    network = ResNet().build((3, 224, 224), 1000, 0)
    # He et al. 2016: 11.69 million parameters; group normalisation has as many as batch's.
    assert sum(p.numel() for p in network.parameters()) == 11_689_512
    x = torch.rand(1, 3, 224, 224)
    shapes = []
    with torch.no_grad():
        for block in network.blocks:
            x = block(x)
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [
        (64, 56, 56),
        (64, 56, 56),
        (128, 28, 28),
        (256, 14, 14),
        (512, 7, 7),
        (512, 1, 1),
    ]
    blocks = [m for m in network.modules() if isinstance(m, BasicBlock)]
    assert [isinstance(b.shortcut, nn.Identity) for b in blocks] == [True] * 2 + [False, True] * 3


@pytest.mark.parametrize(
    ("shape", "stem"),
    [((1, 16, 16), (16, 16)), ((3, 64, 64), (64, 64)), ((1, 112, 92), (28, 23))],
)
def test_resnet_keeps_the_resolution_of_small_pictures(
    shape: tuple[int, ...], stem: tuple[int, int]
) -> None:
    network = ResNet(width=4).build(shape, 5, 0)
    x = torch.rand(2, *shape)
    assert network.blocks[0](x).shape[2:] == stem
    network(x).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_a_residual_block_adds_its_shortcut() -> None:
    block = BasicBlock(4, 4, stride=1, groups=2)
    nn.init.zeros_(block.body[-1].weight)  # type: ignore[arg-type]
    x = torch.rand(2, 4, 6, 6)
    assert torch.equal(block(x), x), "the body silenced, what came in goes out"


@pytest.mark.parametrize(
    "defense",
    [
        Dropout(),
        Freezing(layers=2, epochs=1),
        DpSgd(epsilon=None, noise_multiplier=1.0, epochs=1, batch_size=16),
    ],
)
@pytest.mark.parametrize("model", [SMALL_RESNET, Mlp(hidden=(8,), activation="sigmoid", epochs=1)])
def test_defenses_act_on_every_network(model: Model, defense: Any) -> None:
    if isinstance(defense, Freezing):
        blocks = len(model.build((1, 16, 16), 2, 0).blocks)
        defense = dataclasses.replace(defense, layers=min(2, blocks))
    network, report = train(model, [defense], images(), 0, "cpu")
    plain, _ = train(model, [], images(), 0, "cpu")
    same = [
        torch.equal(a, b) for a, b in zip(network.parameters(), plain.parameters(), strict=True)
    ]
    assert not all(same)
    assert (report.privacy is not None) == isinstance(defense, DpSgd)
    if isinstance(defense, Freezing):
        frozen = [not p.requires_grad for p in network.blocks.parameters()]
        assert any(frozen)


def test_opacus_takes_the_whole_resnet() -> None:
    from opacus.validators import ModuleValidator

    assert ModuleValidator.validate(ResNet().build((1, 32, 32), 4, 0).train()) == []


def test_resnet_refuses_what_is_no_picture() -> None:
    with pytest.raises(UserError, match="needs images"):
        ResNet().build((6,), 2, 0)
