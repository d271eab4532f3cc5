from __future__ import annotations

import pytest
import torch
from torch import nn

from attacks.common.selection import Views
from attacks.common.students import WIDTHS, build, distill
from bench.contract import DivergedError, UserError, generator
from tests.attacks.images import PEOPLE, photographs, target

PUBLIC = photographs(20, 4, seed=9).x
TEACHER = target(photographs(PEOPLE, 4, seed=1))


@pytest.mark.parametrize(
    "shape", [(1, 12, 12), (3, 16, 16), (1, 112, 92), (1, 28, 28), (3, 64, 48)]
)
def test_students_fit_any_image_and_differ(shape: tuple[int, ...]) -> None:
    sizes = set()
    for widths in WIDTHS:
        student = build(shape, 2, widths)
        assert student(torch.rand(2, *shape)).shape == (2, 2)
        sizes.add(sum(p.numel() for p in student.parameters()))
    assert len(sizes) == len(WIDTHS)


@pytest.mark.parametrize("gain", [0.4, 40.0, 4000.0])
def test_students_answer_as_the_teacher_does_however_sure_it_is(gain: float) -> None:
    teacher = target(photographs(PEOPLE, 4, seed=1), gain)
    (student,), (share,) = distill(
        teacher, PUBLIC, PEOPLE, 1, 40, generator(0), lr=3e-3, batch_size=16
    )
    assert not student.training
    assert not any(p.requires_grad for p in student.parameters())
    own = float((student(PUBLIC).argmax(1) == teacher(PUBLIC).argmax(1)).float().mean())
    assert own == pytest.approx(share)
    assert share > 0.7
    _, (untaught,) = distill(teacher, PUBLIC, PEOPLE, 1, 1, generator(0), lr=1e-9)
    assert untaught < 0.5


def test_the_seed_decides_the_students() -> None:
    def first(seed: int) -> torch.Tensor:
        students, _ = distill(
            TEACHER, PUBLIC, PEOPLE, 1, 1, generator(seed), views=Views((0.8, 1.0))
        )
        return students[0](PUBLIC[:2])

    before = torch.random.get_rng_state()
    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))
    assert torch.equal(before, torch.random.get_rng_state())


def test_no_students_and_too_many() -> None:
    assert distill(TEACHER, PUBLIC, PEOPLE, 0, 1, generator(0)) == ([], [])
    with pytest.raises(UserError, match="architecture of its own"):
        distill(TEACHER, PUBLIC, PEOPLE, len(WIDTHS) + 1, 1, generator(0))


def test_a_broken_teacher_diverges() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 2), torch.nan)

    with pytest.raises(DivergedError, match="distillation"):
        distill(Broken(), PUBLIC, 2, 1, 1, generator(0))
