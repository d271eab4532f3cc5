"""The committee of evaluators that judges reconstructions of people (PROTOCOL 2.1).

Three families, so that an error of one is not an error of all: a small convolutional network, a
linear discriminant on principal components, and template matching, which is not learned. They are
fitted on the private data, are never shown to an attack or a defense, and are kept as tensors.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import Split, Splits, generator

COMMITTEE = ("cnn", "lda", "ncc")
"""Names of the evaluators, in the order of every table."""

_STEPS, _BATCH, _LR = 300, 24, 2e-3


class EvaluatorNet(nn.Module):
    """Three strided convolutions with group normalisation, a 128-wide layer and a head.

    Args:
        channels: of the images.
        n_classes: number of private people.
    """

    def __init__(self, channels: int, n_classes: int) -> None:
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
        self.head = nn.Linear(128, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[n, n_classes]`` of images ``[n, c, h, w]``."""
        out: Tensor = self.head(self.drop(self.body(x)))
        return out


def augment(x: Tensor, rng: torch.Generator) -> Tensor:
    """Small turns, shifts, zooms, blur, light and noise, all drawn from ``rng`` (on the CPU).

    The blur matters: reconstructions are smoother than photographs, and an evaluator that never
    saw a smooth face rejects the right one (PROTOCOL 0, finding 4).
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


def _fit_cnn(train: Split, n_classes: int, seed: int, device: str) -> EvaluatorNet:
    rng = generator(seed)
    x, y = train.x.to(device), train.y.to(device)
    steps = _STEPS * max(1, -(-len(x) // 200))
    cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[torch.device(device)] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed_all(seed)
        net = EvaluatorNet(x.shape[1], n_classes).to(device)
        optimiser = torch.optim.AdamW(net.parameters(), _LR, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LR, total_steps=steps)
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(steps):
            if len(order) < _BATCH:
                order = torch.cat([order, torch.randperm(len(x), generator=rng)])
            rows, order = order[:_BATCH], order[_BATCH:]
            optimiser.zero_grad()
            loss = F.cross_entropy(net(augment(x[rows], rng)), y[rows], label_smoothing=0.1)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return net.eval()


def _fit_lda(train: Split, n_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """PCA then LDA as one linear map ``x @ weight.T + bias``."""
    x, y = train.x.flatten(1).double().cpu().numpy(), train.y.cpu().numpy()
    # One component fewer than within-class degrees of freedom keeps the scatter invertible.
    rank = max(1, min(100, len(x) - n_classes, x.shape[1]))
    pca = PCA(rank, svd_solver="full", random_state=seed).fit(x)
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(pca.transform(x), y)
    coef, intercept = torch.from_numpy(lda.coef_), torch.from_numpy(lda.intercept_)
    if len(lda.classes_) == 2:
        # scikit-learn keeps one row for two classes: the second class's score, the first's is 0.
        coef = torch.cat([torch.zeros_like(coef), coef])
        intercept = torch.cat([torch.zeros_like(intercept), intercept])
    weight = torch.zeros(n_classes, x.shape[1], dtype=torch.float64)
    bias = torch.full((n_classes,), -torch.inf, dtype=torch.float64)
    rows = torch.from_numpy(lda.classes_)
    weight[rows] = coef @ torch.from_numpy(pca.components_)
    bias[rows] = intercept - weight[rows] @ torch.from_numpy(pca.mean_)
    return weight.float(), bias.float()


def templates(x: Tensor, mean: Tensor) -> Tensor:
    """Images as unit templates ``[n, d]``: 5x5 box blur, less the public mean, zero mean."""

    def blur(image: Tensor) -> Tensor:
        return F.avg_pool2d(image, 5, stride=1, padding=2, count_include_pad=False)

    flat = (blur(x) - blur(mean.unsqueeze(0))).flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True))


def match(x: Tensor, gallery: Split, mean: Tensor, n_classes: int) -> Tensor:
    """Normalised cross-correlation with each person's nearest gallery image, ``[n, n_classes]``.

    A person without a gallery image scores -1, the least possible.
    """
    near = templates(x, mean) @ templates(gallery.x.to(x.device), mean).T
    owner = gallery.y.to(x.device).expand(len(x), -1)
    return near.new_full((len(x), n_classes), -1.0).scatter_reduce(1, owner, near, "amax")


def network(tensors: Mapping[str, Tensor]) -> EvaluatorNet:
    """The fitted convolutional evaluator, in evaluation mode."""
    state = {k.removeprefix("cnn."): v for k, v in tensors.items() if k.startswith("cnn.")}
    # On the meta device nothing is initialised, so no global random number is drawn.
    with torch.device("meta"):
        net = EvaluatorNet(state["body.0.0.weight"].shape[1], len(state["head.bias"]))
    net.load_state_dict(state, strict=True, assign=True)
    return net.eval()


@torch.no_grad()
def judge(tensors: Mapping[str, Tensor], x: Tensor, gallery: Split) -> dict[str, Tensor]:
    """Scores ``[n, n_classes]`` of every evaluator for images ``[n, c, h, w]``.

    Args:
        tensors: what :func:`fit` returned.
        x: images in [0, 1].
        gallery: real images for the template matcher.
    """
    weight, bias = tensors["lda.weight"], tensors["lda.bias"]
    return {
        "cnn": network(tensors)(x),
        "lda": x.flatten(1) @ weight.T + bias,
        "ncc": match(x, gallery, tensors["ncc.mean"], len(bias)),
    }


def committee(scores: Mapping[str, Tensor], classes: Tensor) -> Tensor:
    """Whether at least two of the three evaluators name the class, bool ``[n]``."""
    named = torch.stack([scores[name].argmax(1) == classes for name in COMMITTEE])
    return named.sum(0) >= 2


def matched_galleries(train: Split, test: Split) -> tuple[Split, Split]:
    """Equal numbers per person of member and held-out images.

    Without it the larger gallery would be the nearer one by chance alone.
    """

    def rank(y: Tensor) -> Tensor:
        same = y.unsqueeze(0) == y.unsqueeze(1)
        return (same & torch.ones_like(same).tril(-1)).sum(1)

    size = int(max(train.y.max(), test.y.max())) + 1
    count = torch.minimum(train.y.bincount(minlength=size), test.y.bincount(minlength=size))
    return train.take(rank(train.y) < count[train.y]), test.take(rank(test.y) < count[test.y])


def fit(splits: Splits, seed: int, device: str) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Fit the committee on the members; held-out images are used to measure it only.

    Args:
        splits: the data.
        seed: of the network's weights, batches and augmentation.
        device: torch device name.

    Returns:
        Tensors for :func:`judge` (on the CPU), with ``features.train`` and ``features.public``
        (inputs of the network's head) and ``ceiling``; and facts: ``heldout_acc_*`` on held-out
        images (template matching against member images), ``oracle_*`` on the mean member image of
        each class, and ``committee_ceiling``, the committee's success on held-out images. Both
        are empty for tables and baskets, which need no learned judge.
    """
    card, train, test = splits.card, splits.train, splits.test
    if card.modality != "image":
        return {}, {}
    net = _fit_cnn(train, card.n_classes, seed, device).cpu()
    tensors = {f"cnn.{name}": value.detach().clone() for name, value in net.state_dict().items()}
    with warnings.catch_warnings():
        # A class with one image has no scatter of its own; shrinkage handles it.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="sklearn")
        tensors["lda.weight"], tensors["lda.bias"] = _fit_lda(train, card.n_classes, seed)
    tensors["ncc.mean"] = splits.public.x.mean(0).cpu()
    with torch.no_grad():
        tensors["features.train"] = net.body(train.x.cpu())
        tensors["features.public"] = net.body(splits.public.x.cpu())

    classes = torch.unique(train.y)
    means = torch.stack([train.x[train.y == c].mean(0) for c in classes])
    heldout, oracle = judge(tensors, test.x, train), judge(tensors, means, test)
    ceiling = committee(heldout, test.y).float().mean()
    tensors["ceiling"] = ceiling
    facts = {"committee_ceiling": float(ceiling)}
    for name in COMMITTEE:
        facts[f"heldout_acc_{name}"] = float((heldout[name].argmax(1) == test.y).float().mean())
        facts[f"oracle_{name}"] = float((oracle[name].argmax(1) == classes).float().mean())
    return tensors, facts
