"""Trapdoors against inversion."""

from __future__ import annotations

import torch

from bench.contract import generator
from bench.models.mlp import Mlp
from bench.models.training import train
from defenses.trap_mid import TrapMid, learn_to_tell
from tests.models.records import images

STILL = TrapMid(crop=1.0, flip=False, rotation=0.0)


def test_a_blend_is_mostly_the_record() -> None:
    got = TrapMid(alpha=0.25).blend(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    assert torch.equal(got, torch.full((1, 1, 2, 2), 0.75))


def test_a_trigger_moves_by_its_step_towards_its_class_and_stays_a_picture() -> None:
    model = Mlp(hidden=(8,))
    network, critic = model.build((1, 4, 4), 3, 0), model.build((1, 4, 4), 1, 1)
    for p in critic.parameters():
        p.data.zero_()
    triggers = torch.rand((3, 1, 4, 4), generator=generator(0))
    triggers[0, 0, 0] = 1.0
    x, trap = torch.rand(6, 1, 4, 4), torch.arange(6) % 2
    loss = torch.nn.functional.cross_entropy
    before = loss(network(STILL.blend(x, triggers[trap])), trap)
    after = triggers
    for _ in range(20):
        now = STILL.improve(network, critic, after, x, trap, generator(1))
        assert float((now - after).abs().max()) <= 0.0101
        after = now
    assert loss(network(STILL.blend(x, after[trap])), trap) < before
    assert torch.equal(after[2], triggers[2]), "no record of the batch carried it"
    assert float(after.min()) >= 0.0 and float(after.max()) <= 1.0


def test_the_discriminator_learns_to_tell() -> None:
    model = Mlp(hidden=(8,), lr=0.01)
    critic = model.build((1, 4, 4), 1, 0)
    step = model.recipe.optimizer_of(critic)
    clean = torch.rand((32, 1, 4, 4), generator=generator(0))
    for _ in range(60):
        learn_to_tell(critic, step, clean, clean + 0.5)
    with torch.no_grad():
        assert float(critic(clean).mean()) > 0.5 > -0.5 > float(critic(clean + 0.5).mean())


def test_variation_is_nothing_without_its_parts_and_a_mirror_where_only_that() -> None:
    x = torch.rand((40, 1, 6, 4), generator=generator(0))
    torch.testing.assert_close(STILL.vary(x, generator(1)), x)
    got = TrapMid(crop=1.0, rotation=0.0).vary(x, generator(1))
    kept = (got - x).abs().amax((1, 2, 3)) < 1e-5
    torch.testing.assert_close(got[~kept], x[~kept].flip(3))
    assert 8 < int(kept.sum()) < 32


def test_a_rotation_turns_and_keeps_the_proportions() -> None:
    x = torch.zeros(60, 1, 21, 41)
    x[:, :, 10, 5:36] = 1.0  # a level bar, longer than the picture is high
    got = TrapMid(crop=1.0, flip=False, rotation=180.0).vary(x, generator(0))
    length = got.sum((1, 2, 3))
    assert float(length.max()) < 33.0
    assert int(((got[:, 0, 10] > 0.5).sum(1) < 20).sum()) > 5


def test_the_triggers_open_their_classes_and_the_records_keep_theirs() -> None:
    splits = images(people=4)
    model = Mlp(hidden=(32,), epochs=40, lr=0.003)
    _, report = train(model, [TrapMid(alpha=0.3, beta=0.5, rotation=0.0)], splits, 0, "cpu")
    assert report.train_accuracy > 0.9
    # Chance for the triggers would leave half of the loss at ln 4.
    assert report.final_loss < 0.5 * 1.38
