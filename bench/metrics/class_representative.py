"""Does a class representative reveal the person? Committee re-identification (PROTOCOL 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contract import DivergedError, Reconstruction, Score, Truth, require
from bench.metrics import evaluators, images

METRIC = "committee_reid"


def _likeness(x: Tensor, y: Tensor, real: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Greatest SSIM and PSNR (dB) of each ``x`` to an image of its class ``y``, each ``[t]``."""
    row, column = torch.nonzero(y.unsqueeze(1) == owner, as_tuple=True)
    pairs = x[row], real[column]
    empty = x.new_full((len(x),), -torch.inf)
    return (
        empty.scatter_reduce(0, row, images.ssim(*pairs), "amax"),
        empty.scatter_reduce(0, row, images.psnr(*pairs), "amax"),
    )


@torch.no_grad()
def score(reconstruction: Reconstruction, truth: Truth) -> Score:
    """Judge one reconstruction per target class.

    A class counts as revealed if at least two of three evaluators name it, rank 1 among all
    private people and strangers: what is more like a stranger, or like nobody, reveals no one.
    ``members`` and ``nonmembers`` are the votes of two further committees, fitted on equal numbers
    per person of member and of held-out images. Their difference says whether the reconstruction
    is nearer to training pictures than to other pictures of the same people.

    Args:
        reconstruction: ``values`` ``[t, c, h, w]``; clipped to [0, 1] before it is judged.
        truth: ``classes`` ``[t]`` and the fitted ``evaluator``.

    Returns:
        ``extra``: ``top1_*`` of each evaluator, ``strict`` (all three agree), ``closed_set`` (the
        committee without strangers, among whom nobody is rejected), ``top5_cnn`` and ``rank``
        (mean rank of the class, 1 is first) in the network's order of private people,
        ``permuted`` (success judged against ``class + 1``: must be at ``chance`` or below),
        ``chance`` (1 / number of classes), ``stranger`` (share of images in which at least two
        evaluators see nobody private),
        ``feature_gap`` (distance in the network's features to the nearest private image of the
        class minus to the nearest public image; lower leaks more), ``template_gap`` (correlation
        with the class's nearest member image minus with its nearest held-out image), ``ssim`` and
        ``psnr`` to the nearest member image of the class. ``outcomes``: per class; a
        ``vote_*`` of ``n_classes`` is nobody private.

    Raises:
        DivergedError: the reconstruction holds NaN or Inf.
        UserError: it has another shape than one image per class.
    """
    splits, tensors = truth.splits, truth.evaluator
    require(truth.classes is not None, f"The metric '{METRIC}' needs the target classes.")
    assert truth.classes is not None
    classes = truth.classes.cpu()
    wanted = (len(classes), *splits.card.shape)
    require(
        tuple(reconstruction.values.shape) == wanted,
        f"The attack returned values of shape {tuple(reconstruction.values.shape)}; the metric "
        f"'{METRIC}' needs one image per class, {wanted}.",
    )
    x = reconstruction.values.detach().float().cpu()
    if not bool(torch.isfinite(x).all()):
        raise DivergedError("The attack's reconstruction holds NaN or Inf.")
    x = x.clamp(0.0, 1.0)
    train, test, n_classes = splits.train, splits.test, splits.card.n_classes

    scores = evaluators.judge(tensors, x)
    who = {name: evaluators.named(mine) for name, mine in scores.items()}
    votes = torch.stack([vote == classes for vote in who.values()]).sum(0)
    member, other = (
        evaluators.committee(evaluators.judge(evaluators.refitted(tensors, side), x), classes)
        for side in (evaluators.MEMBERS, evaluators.OTHERS)
    )
    own = classes.unsqueeze(1)
    near_member, near_other = (
        evaluators.match(x, gallery, tensors["mean"], n_classes).gather(1, own).squeeze(1)
        for gallery in evaluators.matched_galleries(train, test)
    )

    features = evaluators.features(tensors, x)
    private = torch.cdist(features, tensors["features.train"])
    private = private.masked_fill(train.y.unsqueeze(0) != own, torch.inf).amin(1)
    public = torch.cdist(features, tensors["features.public"]).amin(1)
    line_up = scores["cnn"][:, :-1]
    rank = 1 + (line_up > line_up.gather(1, own)).sum(1)
    likeness, psnr = _likeness(x, classes, train.x, train.y)

    outcomes = {
        "target": classes,
        "success": evaluators.committee(scores, classes),
        "member_success": member,
        "nonmember_success": other,
        "votes": votes,
        **{f"vote_{name}": vote for name, vote in who.items()},
        "closed_set": evaluators.committee(evaluators.closed(scores), classes),
        "rank": rank,
        "feature_gap": private - public,
        "template_gap": near_member - near_other,
        "ssim": likeness,
        "psnr": psnr,
    }
    nobody = torch.stack([vote == n_classes for vote in who.values()]).sum(0)
    columns = ("closed_set", "rank", "feature_gap", "template_gap", "ssim", "psnr")
    means = {k: outcomes[k] for k in columns} | {
        **{f"top1_{name}": vote == classes for name, vote in who.items()},
        "top5_cnn": rank <= 5,
        "strict": votes == len(who),
        "stranger": nobody >= 2,
        "permuted": evaluators.committee(scores, (classes + 1) % n_classes),
    }
    return Score(
        metric=METRIC,
        value=float(outcomes["success"].float().mean()),
        members=float(member.float().mean()),
        nonmembers=float(other.float().mean()),
        ceiling=float(tensors["ceiling"]),
        victims=len(classes),
        extra={k: float(v.float().mean()) for k, v in means.items()} | {"chance": 1 / n_classes},
        outcomes=outcomes,
    )
