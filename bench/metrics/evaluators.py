"""The committee of evaluators that judges reconstructions of people (PROTOCOL 2.1).

It has three families, so that an error of one is not an error of all: a small convolutional
network, a linear discriminant on pixels, and a linear discriminant on directions of edges. Attacks
may hold a whitened space of pixels and blurred templates of their own, to look unlike public
people. Two judges must agree, so one of them always looks at something else than that.
No attack and no defense ever sees them, they select nothing, and they are kept as tensors.

The line-up is open: a picture is a private person's only if it is more like that person than like
any other private person *and* any stranger. Among private people alone somebody is always named.
An attack that returns the public picture of which the deployment is surest, which shows another
person, then counted as a leak in .4 to .8 of the cases. Strangers are the public people, and
fillers whom the attacker does not hold, so that neither to resemble nor to avoid public people
decides. With a threshold on the score instead, set to beat 95 % or 99 % of the public pictures, a
tenth to a half of such look-alikes passed. The line-up stops public pictures because their owners
stand in it; a look-alike who does not stand in it is stopped less often (``public_far_*``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract import Split, Splits, generator
from bench.metrics import discriminant, face_network, judge_network
from bench.metrics.discriminant import FEATURES, Rows, blur, small
from bench.metrics.judge_network import EvaluatorNet

COMMITTEE = ("cnn", "lda", "hog")
"""Names of the evaluators, in the order of every table."""

MEMBERS, OTHERS = "members/", "others/"
"""Prefixes of the tensors of two more committees: one has seen members of the private people, the
other as many held-out pictures of them."""

_NEAR = 0.1
"""Share of the private people among whom one of the three must have whom the face network names."""
_UNSEEN, _MOST_UNSEEN = 0.2, 100


def templates(x: Tensor, mean: Tensor) -> Tensor:
    """Images as unit vectors ``[n, d]``: grey, 3x3 box blur, less the public mean, zero mean."""

    def grey(image: Tensor) -> Tensor:
        return blur(small(image).mean(1, keepdim=True))

    flat = (grey(x) - grey(mean.unsqueeze(0))).flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True))


def match(x: Tensor, gallery: Split, mean: Tensor, people: int) -> Tensor:
    """Normalised cross-correlation with each person's nearest gallery image, ``[n, people]``.

    A person without a gallery image scores -1, the least possible.
    """
    near = templates(x, mean) @ templates(gallery.x.to(x.device), mean).T
    owner = gallery.y.to(x.device).expand(len(x), -1)
    return near.new_full((len(x), people), -1.0).scatter_reduce(1, owner, near, "amax")


def network(tensors: Mapping[str, Tensor]) -> EvaluatorNet:
    """The fitted convolutional network, in evaluation mode."""
    state = {k.removeprefix("cnn."): v for k, v in tensors.items() if k.startswith("cnn.")}
    # On the meta device nothing is initialised, so no global random number is drawn.
    with torch.device("meta"):
        net = EvaluatorNet(state["body.0.0.weight"].shape[1], len(state["head.weight"]))
    net.load_state_dict(state, strict=True, assign=True)
    return net.eval()


def features(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Inputs of the network's head ``[n, 128]`` for images ``[n, c, h, w]`` in [0, 1]."""
    body = network(tensors).body
    return torch.cat([body(small(part)) for part in torch.split(x, 1024)])


def refitted(tensors: Mapping[str, Tensor], side: str) -> dict[str, Tensor]:
    """Tensors for :func:`judge` of the committee of one side, :data:`MEMBERS` or :data:`OTHERS`."""
    own = {k.removeprefix(side): v for k, v in tensors.items() if k.startswith(side)}
    return {"n_classes": tensors["n_classes"], **own}


def _beside(scores: Tensor, n_classes: int) -> Tensor:
    """Scores ``[n, people]`` of private people, with those of the best stranger as last column."""
    stranger = F.pad(scores[:, n_classes:], (1, 0), value=-torch.inf).amax(1, keepdim=True)
    return torch.cat([scores[:, :n_classes], stranger], 1)


@torch.no_grad()
def judge(tensors: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Scores ``[n, n_classes + 1]`` of every evaluator for images ``[n, c, h, w]``.

    The last column is the score of the best stranger. Scores compare within a row only.

    Args:
        tensors: what :func:`fit` or :func:`refitted` returned.
        x: images in [0, 1].
    """
    n_classes = int(tensors["n_classes"])
    scores = {"cnn": network(tensors)(small(x))}
    for name in FEATURES:
        looks = torch.cat([FEATURES[name](part) for part in torch.split(x, 1024)])
        z = discriminant.place(looks, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
        scores[name] = z @ tensors[f"{name}.people"].T
    if face_network.PEOPLE in tensors:
        scores[face_network.NAME] = face_network.likeness(
            x.cpu(), tensors[face_network.PEOPLE], tensors[face_network.FRAME]
        )
    return {name: _beside(mine, n_classes) for name, mine in scores.items()}


def named(scores: Tensor) -> Tensor:
    """The person that an evaluator names, int64 ``[n]``; ``n_classes`` means no private person.

    The private person must be ahead of the best stranger, not level with that person.
    """
    best, who = scores[:, :-1].max(1)
    return torch.where(best > scores[:, -1], who, scores.shape[1] - 1)


def verdicts(scores: Mapping[str, Tensor]) -> Tensor:
    """Which private people the committee recognises in each picture, bool ``[n, n_classes]``.

    At least two of the three evaluators must name a person. Where the face network judges beside
    them, it must name the person, and one of the three must have that person among the first tenth
    of the private people, strangers left aside: they tell people apart less well than it does, so
    they can only refuse what does not look like the person at all.
    """
    n_classes = next(iter(scores.values())).shape[1] - 1
    claims = {name: F.one_hot(named(mine), n_classes + 1)[:, :-1] for name, mine in scores.items()}
    if face_network.NAME not in claims:
        return torch.stack(list(claims.values())).sum(0) >= 2
    near = torch.zeros_like(claims[face_network.NAME])
    for name in COMMITTEE:
        private = scores[name][:, :-1]
        first = private.topk(math.ceil(_NEAR * n_classes)).indices
        near.scatter_(1, first, 1)
    return (claims[face_network.NAME] & near).bool()


def committee(scores: Mapping[str, Tensor], classes: Tensor) -> Tensor:
    """Whether the committee recognises the person of each picture's class, bool ``[n]``."""
    return verdicts(scores).gather(1, classes.unsqueeze(1)).squeeze(1)


def closed(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same scores without a stranger, so that somebody private is always named."""
    gone = {name: torch.full_like(mine[:, :1], -torch.inf) for name, mine in scores.items()}
    return {name: torch.cat([mine[:, :-1], gone[name]], 1) for name, mine in scores.items()}


def matched_galleries(train: Split, test: Split) -> tuple[Split, Split]:
    """Equal numbers per person of images of members and of held-out images.

    Otherwise the larger gallery would be the nearer one by chance alone.
    """

    def rank(y: Tensor) -> Tensor:
        order = y.argsort(stable=True)
        start = y.bincount().cumsum(0) - y.bincount()
        place = torch.empty_like(y)
        place[order] = torch.arange(len(y)) - start[y[order]]
        return place

    size = int(max(train.y.max(), test.y.max())) + 1
    count = torch.minimum(train.y.bincount(minlength=size), test.y.bincount(minlength=size))
    return train.take(rank(train.y) < count[train.y]), test.take(rank(test.y) < count[test.y])


def _strangers(splits: Splits) -> Split:
    """Public people and fillers, numbered after the private people."""
    offset = splits.card.n_classes
    parts = [splits.public] + ([] if splits.fillers is None else [splits.fillers])
    owners = []
    for part in parts:
        people, owner = torch.unique(part.y, return_inverse=True)
        owners.append(owner + offset)
        offset += len(people)
    return _joined(*(Split(p.x, y, p.person) for p, y in zip(parts, owners, strict=True)))


def _small(split: Split) -> Split:
    return Split(small(split.x), split.y, split.person)


def _joined(*parts: Split) -> Split:
    return Split(*(torch.cat([getattr(p, k) for p in parts]) for k in ("x", "y", "person")))


def _unseen(strangers: Split, seed: int) -> Tensor:
    """Which pictures, bool ``[n]``, are of strangers whom the training must not see."""
    people = torch.unique(strangers.y)
    count = min(_MOST_UNSEEN, max(1, round(_UNSEEN * len(people)))) if len(people) > 1 else 0
    drawn = torch.randperm(len(people), generator=generator(seed))[:count]
    return torch.isin(strangers.y, people[drawn.to(people.device)])


def _state(net: EvaluatorNet) -> dict[str, Tensor]:
    return {f"cnn.{name}": value.detach().clone() for name, value in net.state_dict().items()}


def _enrol(tensors: dict[str, Tensor], line_up: Mapping[str, Rows], people: int) -> None:
    """Put people into the line-up of both discriminants."""
    for name, rows in line_up.items():
        z = discriminant.place(rows.plain, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
        tensors[f"{name}.people"] = discriminant.centres(z, rows.y, people)


def _looks(split: Split) -> dict[str, Rows]:
    return {name: Rows.of(split, name) for name in FEATURES}


def _with(a: Mapping[str, Rows], b: Mapping[str, Rows]) -> dict[str, Rows]:
    return {name: a[name] + b[name] for name in FEATURES}


def _spaces(looks: Mapping[str, Rows], seed: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, rows in looks.items():
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = discriminant.fit(rows, seed)
    return tensors


def _sides(
    splits: Splits,
    strangers: Split,
    looks: Mapping[str, Rows],
    people: int,
    seed: int,
    device: str,
    frame: Tensor | None,
) -> dict[str, Tensor]:
    """Two committees that differ only in the pictures of private people that they have seen.

    The discriminants' spaces are those of strangers, so that they favour neither side.

    Args:
        splits: the data.
        strangers: pictures of people who are not private, as they are.
        looks: the discriminants' features of ``strangers``.
        people: how many people there are in all.
        seed: as in :func:`fit`.
        device: as in :func:`fit`.
        frame: of the face network's pictures; None: it does not judge.
    """
    spaces = _spaces(looks, seed)
    tensors: dict[str, Tensor] = {}
    galleries = matched_galleries(splits.train, splits.test)
    for side, pictures in zip((MEMBERS, OTHERS), galleries, strict=True):
        gallery = _small(pictures)
        steps = judge_network.steps_for(len(gallery), people) // 2
        net = judge_network.fit((gallery, _small(strangers)), people, steps, seed, device)
        # Copies: a store of tensors refuses two names for one memory.
        own = _state(net) | {name: value.clone() for name, value in spaces.items()}
        _enrol(own, _with(_looks(gallery), looks), people)
        if frame is not None:
            own[face_network.FRAME] = frame.clone()
            own[face_network.PEOPLE] = face_network.line_up(pictures, strangers, people, frame)
        tensors |= {side + name: value for name, value in own.items()}
    return tensors


def fit(
    splits: Splits, seed: int, device: str, *, faces: bool = False
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Fit the committee on members and strangers; held-out images only measure it.

    A fifth of the strangers, at most 100, is kept from training. The evaluators have never seen
    their pictures, which give the rate of false acceptance. Only then are they enrolled in the
    line-up of the discriminants.

    Two more committees are for the member gap only (:data:`MEMBERS`, :data:`OTHERS`). Held-out
    pictures teach the second of them and no other.

    Args:
        splits: the data; labels of public people and fillers count as those of other people.
        seed: decides the networks' weights, the batches, the augmentation, and who is unseen.
        device: torch device name.
        faces: whether dlib's face network is a fourth judge; it must not have been trained on
            these people.

    Returns:
        Tensors for :func:`judge` and :func:`refitted` (on the CPU), with ``features.train``,
        ``features.public`` and ``ceiling``; and figures: ``heldout_acc_*`` on held-out images,
        ``oracle_*`` on the mean image of the members of each class, the same two for the committee
        (``committee_ceiling``, ``committee_oracle``); ``refit_members`` and ``refit_others``, the
        share of pictures of the other side that the two further committees name right;
        ``public_far_*``, the probability that an unseen stranger's picture passes for a given
        private person, and ``public_named_committee``, that it passes for any of them (a line-up
        without threshold names one of few people often). The last two are absent with a single
        stranger. Both results are empty where a class is no person, which makes identity
        meaningless: tables, baskets, images of diseases.

    Raises:
        UserError: ``faces``, and the extra is not installed.
    """
    card, test = splits.card, splits.test
    if card.modality != "image" or card.privacy_unit != "person":
        return {}, {}
    n_classes = card.n_classes
    strangers = _strangers(splits)
    train, small_strangers = _small(splits.train), _small(strangers)
    unseen = _unseen(strangers, seed)
    known = small_strangers.take(~unseen)
    everyone = int(strangers.y.max()) + 1

    steps = judge_network.steps_for(len(train), everyone)
    net = judge_network.fit((train, known), everyone, steps, seed, device)
    tensors = _state(net)
    tensors["n_classes"] = torch.tensor(n_classes)
    tensors["mean"] = splits.public.x.mean(0).cpu()
    private, others = _looks(train), _looks(small_strangers)
    seen = _with(private, {name: rows.take(~unseen) for name, rows in others.items()})
    tensors |= _spaces(seen, seed)
    frame = face_network.frame_of(splits.train.x.cpu()) if faces else None

    def enrol(looks: Mapping[str, Rows], others: Split) -> None:
        _enrol(tensors, looks, everyone)
        if frame is not None:
            tensors[face_network.FRAME] = frame
            tensors[face_network.PEOPLE] = face_network.line_up(
                splits.train, others, everyone, frame
            )

    facts = {}
    if bool(unseen.any()):
        enrol(seen, strangers.take(~unseen))
        scores = judge(tensors, strangers.take(unseen).x)
        for name, mine in scores.items():
            claimed = F.one_hot(named(mine), n_classes + 1)[:, :-1]
            facts[f"public_far_{name}"] = float(claimed.float().mean())
        claims = verdicts(scores)
        facts["public_far_committee"] = float(claims.float().mean())
        facts["public_named_committee"] = float(claims.any(1).float().mean())
    enrol(_with(private, others), strangers)
    with torch.no_grad():
        tensors["features.train"] = features(tensors, train.x.cpu())
        tensors["features.public"] = features(tensors, splits.public.x.cpu())

    classes = torch.unique(train.y)
    means = torch.stack([splits.train.x[train.y == c].mean(0) for c in classes])
    heldout, oracle = judge(tensors, test.x), judge(tensors, means)
    tensors["ceiling"] = committee(heldout, test.y).float().mean()
    facts["committee_ceiling"] = float(tensors["ceiling"])
    facts["committee_oracle"] = float(committee(oracle, classes).float().mean())
    for name in heldout:
        facts[f"heldout_acc_{name}"] = float((named(heldout[name]) == test.y).float().mean())
        facts[f"oracle_{name}"] = float((named(oracle[name]) == classes).float().mean())

    tensors |= _sides(splits, strangers, others, everyone, seed, device, frame)
    pictures = matched_galleries(splits.train, test)[::-1]
    for side, other in zip((MEMBERS, OTHERS), pictures, strict=True):
        right = committee(judge(refitted(tensors, side), other.x), other.y)
        facts[f"refit_{side.removesuffix('/')}"] = float(right.float().mean())
    return tensors, facts
