"""The committee of evaluators that judges reconstructions of people (PROTOCOL 2.1).

It has three families, so that an error of one is not an error of all: a small convolutional
network, a linear discriminant on principal components, and template matching, which is not learnt.
No attack and no defense ever sees them, they select nothing, and they are kept as tensors.

The line-up is open: a picture is a private person's only if it is more like that person than like
any other private person *and* any public person. Among private people alone somebody is always
named. An attack that returns the public picture of which the deployment is surest, which shows
another person, then counted as a leak in .4 to .8 of the cases. Therefore public people are people
like the others for the network and for the discriminant, and fillers in the gallery of the template
matcher. With a threshold on the score instead, set to beat 95 % or 99 % of the public pictures, a
tenth to a half of such look-alikes passed. A threshold above every public picture stopped them too,
kept more reconstructions on ORL, and rejected more of them, and more held-out pictures, on
generated faces and LFW. The line-up stops public pictures because their owners stand in it; a
look-alike who does not stand in it is stopped less often (``public_far_*``).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import Split, Splits, generator

COMMITTEE = ("cnn", "lda", "ncc")
"""Names of the evaluators, in the order of every table."""

HEIGHT = 32
"""Evaluators see pictures of at most this height, which is enough for a face and less noise."""

_STEPS, _MOST_STEPS, _BATCH, _LR = 300, 600, 32, 2e-3
_UNSEEN, _MOST_UNSEEN = 0.2, 100


class EvaluatorNet(nn.Module):
    """Three strided convolutions with group normalisation, a 128-wide layer and a head.

    Args:
        channels: number of colour channels of the images.
        people: number of people that it tells apart, the private ones first.
    """

    def __init__(self, channels: int, people: int) -> None:
        super().__init__()

        def block(inward: int, outward: int) -> nn.Sequential:
            conv = nn.Conv2d(inward, outward, 3, stride=2, padding=1)
            return nn.Sequential(conv, nn.GroupNorm(8, outward), nn.SiLU())

        self.body = nn.Sequential(
            block(channels, 16),
            block(16, 32),
            block(32, 64),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(1024, 128),
            nn.SiLU(),
        )
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(128, people)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[n, people]`` of images ``[n, c, h, w]``."""
        logits: Tensor = self.head(self.drop(self.body(x)))
        return logits


def small(x: Tensor) -> Tensor:
    """Images ``[n, c, h, w]`` averaged down to a height of at most :data:`HEIGHT`."""
    height, width = x.shape[2:]
    if height <= HEIGHT:
        return x
    return F.interpolate(x, (HEIGHT, max(1, round(width * HEIGHT / height))), mode="area")


def augment(x: Tensor, rng: torch.Generator) -> Tensor:
    """Small turns, shifts, zooms, blur, light and noise, all drawn from ``rng`` (on the CPU).

    The blur matters: reconstructions are smoother than photographs, and an evaluator that has never
    seen a smooth face rejects the right one (PROTOCOL 0, finding 4).
    """
    n = len(x)

    def draw(width: float) -> Tensor:
        return (torch.rand(n, generator=rng).to(x.device) * 2 - 1) * width

    turn, zoom = draw(0.12), 1 + draw(0.1)
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    theta = torch.stack(
        [torch.stack([cos, -sin, draw(0.1)], 1), torch.stack([sin, cos, draw(0.1)], 1)], 1
    )
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = torch.lerp(blurred, x, torch.rand(n, 1, 1, 1, generator=rng).to(x.device))
    x = (x - 0.5) * (1 + draw(0.2)).view(-1, 1, 1, 1) + 0.5 + draw(0.1).view(-1, 1, 1, 1)
    return x + 0.03 * torch.randn(x.shape, generator=rng).to(x.device)


def _fit_cnn(train: Split, public: Split, people: int, seed: int, device: str) -> EvaluatorNet:
    """The network, trained on half a batch of each kind, so that strangers are no majority."""
    rng = generator(seed)
    sides = [(split.x.to(device), split.y.to(device)) for split in (train, public) if len(split)]
    share = _BATCH // len(sides)
    steps = min(_MOST_STEPS, _STEPS * max(1, -(-len(train) // 200)))
    cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[torch.device(device)] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed_all(seed)
        net = EvaluatorNet(train.x.shape[1], people).to(device)
        optimiser = torch.optim.AdamW(net.parameters(), _LR, weight_decay=1e-2, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LR, total_steps=steps)
        for _ in range(steps):
            rows = [torch.randint(len(x), (share,), generator=rng).to(device) for x, _ in sides]
            x = torch.cat([side[0][row] for side, row in zip(sides, rows, strict=True)])
            y = torch.cat([side[1][row] for side, row in zip(sides, rows, strict=True)])
            optimiser.zero_grad()
            loss = F.cross_entropy(net(augment(x, rng)), y, label_smoothing=0.1)
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    return net.eval()


def _fit_lda(known: Split, seed: int) -> tuple[Tensor, Tensor]:
    """PCA, then the map that makes the scatter within people white: ``x @ weight.T + bias``.

    Cosines in that space are the discriminant analysis of Belhumeur et al. (PAMI 1997). They do not
    depend on how far a picture goes in the direction of a person: reconstructions go too far, and
    blurred pictures not far enough.
    """
    x = known.x.flatten(1).double().cpu()
    owner = torch.unique(known.y, return_inverse=True)[1].cpu()
    people = int(owner.max()) + 1
    # One component fewer than within-class degrees of freedom keeps the scatter invertible.
    rank = max(1, min(100, len(x) - people, x.shape[1]))
    pca = PCA(rank, svd_solver="randomized", random_state=seed).fit(x.numpy())
    z = torch.from_numpy(pca.transform(x.numpy()))
    means = torch.zeros(people, rank, dtype=z.dtype).index_add(0, owner, z)
    means /= owner.bincount().unsqueeze(1)
    scatter = torch.from_numpy(ledoit_wolf((z - means[owner]).numpy(), assume_centered=True)[0])
    # Where every person has one picture, nothing is known of the scatter: it is a plain cosine.
    ridge = 1e-6 * z.var(0).mean() * torch.eye(rank, dtype=z.dtype)
    components = torch.from_numpy(pca.components_)
    whiten = torch.linalg.inv(torch.linalg.cholesky(scatter + ridge)) @ components
    return whiten.float(), -(whiten @ torch.from_numpy(pca.mean_)).float()


def _means(x: Tensor, y: Tensor, people: int) -> Tensor:
    """Unit mean of the unit vectors ``x`` ``[n, d]`` of each person, ``[people, d]``."""
    return F.normalize(x.new_zeros(people, x.shape[1]).index_add(0, y, x))


def templates(x: Tensor, mean: Tensor) -> Tensor:
    """Images as unit vectors ``[n, d]``: grey, 3x3 box blur, less the public mean, zero mean."""

    def blur(image: Tensor) -> Tensor:
        grey = small(image).mean(1, keepdim=True)
        return F.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False)

    flat = (blur(x) - blur(mean.unsqueeze(0))).flatten(1)
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
        net = EvaluatorNet(state["body.0.0.weight"].shape[1], len(state["head.bias"]))
    net.load_state_dict(state, strict=True, assign=True)
    return net.eval()


def features(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Inputs of the network's head ``[n, 128]`` for images ``[n, c, h, w]`` in [0, 1]."""
    body = network(tensors).body
    return torch.cat([body(small(part)) for part in torch.split(x, 1024)])


def _spherical(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    return F.normalize(small(x).flatten(1) @ tensors["lda.weight"].T + tensors["lda.bias"])


def _beside(scores: Tensor, n_classes: int) -> Tensor:
    """Scores ``[n, people]`` of private people, with those of the best stranger as last column."""
    stranger = F.pad(scores[:, n_classes:], (1, 0), value=-torch.inf).amax(1, keepdim=True)
    return torch.cat([scores[:, :n_classes], stranger], 1)


def template_scores(
    tensors: Mapping[str, Tensor], x: Tensor, gallery: Split, public: Split
) -> Tensor:
    """The template matcher's scores ``[n, n_classes + 1]``; see :func:`judge`."""
    mean, n_classes = tensors["ncc.mean"], int(tensors["n_classes"])
    strangers = public.y.new_zeros(len(public)) if len(public) else public.y
    stranger = match(x, Split(public.x, strangers, public.person), mean, 1)
    return torch.cat([match(x, gallery, mean, n_classes), stranger], 1)


@torch.no_grad()
def judge(
    tensors: Mapping[str, Tensor], x: Tensor, gallery: Split, public: Split
) -> dict[str, Tensor]:
    """Scores ``[n, n_classes + 1]`` of every evaluator for images ``[n, c, h, w]``.

    The last column is the score of the best public person. Scores compare within a row only.

    Args:
        tensors: what :func:`fit` returned.
        x: images in [0, 1].
        gallery: real images of the private people for the template matcher.
        public: the public split, its fillers.
    """
    n_classes = int(tensors["n_classes"])
    return {
        "cnn": _beside(network(tensors)(small(x)), n_classes),
        "lda": _beside(_spherical(tensors, x) @ tensors["lda.people"].T, n_classes),
        "ncc": template_scores(tensors, x, gallery, public),
    }


def named(scores: Tensor) -> Tensor:
    """The person that an evaluator names, int64 ``[n]``; ``n_classes`` means no private person.

    The private person must be ahead of the best stranger and not level with that person: what is
    like nobody, such as a plain grey image, is nobody.
    """
    best, who = scores[:, :-1].max(1)
    return torch.where(best > scores[:, -1], who, scores.shape[1] - 1)


def committee(scores: Mapping[str, Tensor], classes: Tensor) -> Tensor:
    """Whether at least two of the three evaluators name the class, bool ``[n]``."""
    return torch.stack([named(scores[name]) == classes for name in COMMITTEE]).sum(0) >= 2


def closed(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same scores without a stranger, so that somebody private is always named."""
    gone = {name: torch.full_like(scores[name][:, :1], -torch.inf) for name in COMMITTEE}
    return {name: torch.cat([scores[name][:, :-1], gone[name]], 1) for name in COMMITTEE}


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


def _unseen(public: Split, seed: int) -> Tensor:
    """Which pictures, bool ``[n]``, are of public people whom the training must not see."""
    people = torch.unique(public.y)
    count = min(_MOST_UNSEEN, max(1, round(_UNSEEN * len(people)))) if len(people) > 1 else 0
    drawn = torch.randperm(len(people), generator=generator(seed))[:count]
    return torch.isin(public.y, people[drawn.to(people.device)])


def fit(splits: Splits, seed: int, device: str) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Fit the committee on members and public people; held-out images only measure it.

    A fifth of the public people, at most 100, is kept from training. Their pictures are strangers
    that the evaluators have never seen, and they give the rate of false acceptance. Only then are
    they enrolled in the line-up of the discriminant and of the template matcher.

    Args:
        splits: the data; public labels count as those of other people.
        seed: decides the network's weights, the batches, the augmentation, and who is unseen.
        device: torch device name.

    Returns:
        Tensors for :func:`judge` (on the CPU), with ``features.train``, ``features.public`` and
        ``ceiling``; and figures: ``heldout_acc_*`` on held-out images (template matching against
        images of members), ``oracle_*`` on the mean image of the members of each class, the same
        two for the committee (``committee_ceiling``, ``committee_oracle``); ``public_far_*``, the
        probability that an unseen stranger's picture passes for a given private person, and
        ``public_named_committee``, that it passes for any of them (a line-up without threshold
        names one of few people often). The last two are absent with a single public person. Both
        results are empty where a class is no person, which makes identity meaningless: tables,
        baskets, images of diseases.
    """
    card, train, test = splits.card, splits.train, splits.test
    if card.modality != "image" or card.privacy_unit != "person":
        return {}, {}
    n_classes = card.n_classes
    strangers, owner = torch.unique(splits.public.y, return_inverse=True)
    public = Split(splits.public.x, owner + n_classes, splits.public.person)
    unseen = _unseen(public, seed)
    known = public.take(~unseen)
    near, far = (Split(small(s.x), s.y, s.person) for s in (train, known))

    everyone = n_classes + len(strangers)
    net = _fit_cnn(near, far, everyone, seed, device).cpu()
    tensors = {f"cnn.{name}": value.detach().clone() for name, value in net.state_dict().items()}
    tensors["n_classes"] = torch.tensor(n_classes)
    tensors["ncc.mean"] = splits.public.x.mean(0).cpu()
    seen = Split(torch.cat([near.x, far.x]), torch.cat([near.y, far.y]), torch.empty(0))
    tensors["lda.weight"], tensors["lda.bias"] = _fit_lda(seen, seed)
    facts = {}

    def enrol(public: Split) -> None:
        x, y = torch.cat([train.x, public.x]), torch.cat([train.y, public.y])
        # A person without a picture has the mean 0 and cosine 0 with everything: nobody.
        tensors["lda.people"] = _means(_spherical(tensors, x), y, everyone)

    if bool(unseen.any()):
        enrol(known)
        some = public.take(unseen)
        scores = judge(tensors, some.x, test, known)
        claims = some.x.new_zeros(len(some), n_classes)
        for name in COMMITTEE:
            claimed = F.one_hot(named(scores[name]), n_classes + 1)[:, :-1]
            facts[f"public_far_{name}"] = float(claimed.float().mean())
            claims += claimed
        facts["public_far_committee"] = float((claims >= 2).float().mean())
        facts["public_named_committee"] = float((claims >= 2).any(1).float().mean())
    enrol(public)
    with torch.no_grad():
        tensors["features.train"] = features(tensors, train.x.cpu())
        tensors["features.public"] = features(tensors, splits.public.x.cpu())

    classes = torch.unique(train.y)
    means = torch.stack([train.x[train.y == c].mean(0) for c in classes])
    heldout = judge(tensors, test.x, train, public)
    oracle = judge(tensors, means, test, public)
    tensors["ceiling"] = committee(heldout, test.y).float().mean()
    facts["committee_ceiling"] = float(tensors["ceiling"])
    facts["committee_oracle"] = float(committee(oracle, classes).float().mean())
    for name in COMMITTEE:
        facts[f"heldout_acc_{name}"] = float((named(heldout[name]) == test.y).float().mean())
        facts[f"oracle_{name}"] = float((named(oracle[name]) == classes).float().mean())
    return tensors, facts
