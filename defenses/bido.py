"""Bilateral dependency optimisation (BiDO)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bench.contract import Network, NonNegative, Positive, Step, TrainingDefense
from bench.contract.task import distribution

_RIDGE = 1e-5
"""Of the normalised HSIC, per record; as in the authors' code."""


@dataclass(frozen=True)
class Bido(TrainingDefense):
    """Make every block depend less on the record and more on the label (Peng et al. 2022).

    The loss gains ``input_weight * sum_j d(h_j, x) - label_weight * sum_j d(h_j, y)``, a sum over
    the outputs ``h_j`` of the blocks. The dependence d is estimated on the batch as in the authors'
    code:

    - ``hsic`` is the normalised HSIC ``tr(R_h R_x)``, ``R = HKH (HKH + 1e-5 n I)^-1``, of ``n``
      records.
    - ``coco`` is ``sqrt(|HKH HLH|) / n`` with the Frobenius norm, an upper bound of the constrained
      covariance of Gretton et al. (AISTATS 2005), whose norm is the largest singular value.

    Kernels of records and blocks are Gaussian, ``exp(-|a - b|^2 / (2 bandwidth^2 d))`` in ``d``
    dimensions. The published weights are (0.05, 0.5) for ``hsic`` on CelebA and (1, 50) for
    ``coco`` on MNIST; with both at 0 there is no defense.

    Attributes:
        dependence: ``hsic`` or ``coco``.
        input_weight: weight of the dependence on the record. Values worth a sweep are 0.01, 0.05,
            0.1 and 0.5.
        label_weight: weight of the dependence on the label.
        bandwidth: bandwidth of the Gaussian kernels, as a root mean square distance in each
            dimension.
        label_kernel: kernel of the one-hot labels, ``linear`` or ``gaussian``.
    """

    dependence: Literal["hsic", "coco"] = "hsic"
    input_weight: NonNegative = 0.05
    label_weight: NonNegative = 0.5
    bandwidth: Positive = 5.0
    label_kernel: Literal["linear", "gaussian"] = "linear"

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"steps", "blocks"})
    tasks = ("classification",)
    paper = "Peng, Liu, Zhang, Lan, Ye, Liu, Han, KDD 2022 (arXiv 2206.05483)"
    cost = "kernel matrices of every block at every step"
    zero: ClassVar[Mapping[str, Any]] = {"input_weight": 0.0, "label_weight": 0.0}

    def penalty(
        self,
        network: Network,
        x: Tensor,
        y: Tensor,
        hidden: Sequence[Tensor],
        outputs: Tensor,
        step: Step,
    ) -> Tensor:
        """The weighted difference of dependences, summed over the blocks."""
        total = outputs.new_zeros(())
        # With a single record, or with weights of 0, there is nothing to add.
        if len(x) < 2 or self.input_weight == self.label_weight == 0:
            return total
        label = distribution(y, step.n_classes)
        input_kernel = gaussian(x, self.bandwidth)
        target_kernel = (
            label @ label.T if self.label_kernel == "linear" else gaussian(label, self.bandwidth)
        )
        dependence = hsic if self.dependence == "hsic" else coco
        for output in hidden:
            block_kernel = gaussian(output, self.bandwidth)
            total = total + self.input_weight * dependence(block_kernel, input_kernel)
            total = total - self.label_weight * dependence(block_kernel, target_kernel)
        return total


def gaussian(x: Tensor, bandwidth: float) -> Tensor:
    """Gaussian kernel matrix ``[n, n]`` of ``x`` ``[n, ...]``."""
    x = x.flatten(1)
    # The distances stay the same, and less is lost to cancellation.
    x = x - x.mean(0)
    square = x.square().sum(1)
    distance = (square[:, None] + square - 2 * x @ x.T).clamp_min(0.0)
    return torch.exp(-distance / (2 * bandwidth**2 * x.shape[1]))


def centred(kernel: Tensor) -> Tensor:
    """``HKH``."""
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()


def hsic(a: Tensor, b: Tensor) -> Tensor:
    """Normalised HSIC of two kernel matrices."""
    ridge = _RIDGE * len(a) * torch.eye(len(a), device=a.device)
    one, two = (torch.linalg.solve(k + ridge, k) for k in (centred(a), centred(b)))
    dependence: Tensor = (one * two.T).sum()
    return dependence


def coco(a: Tensor, b: Tensor) -> Tensor:
    """``sqrt(|HAH HBH|) / n`` with the Frobenius norm."""
    # The square root has no derivative at 0, which is the norm where a block is constant.
    norm: Tensor = torch.linalg.norm(centred(a) @ centred(b))
    return norm.clamp_min(1e-12).sqrt() / len(a)
