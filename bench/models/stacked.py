"""Layers of several networks of one architecture, side by side as one layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.contract import Network


def parts_of(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a network in the order in which a record passes them, with their names."""
    yield from _flat("front", network.front)
    yield from _flat("blocks", network.blocks)
    yield "", nn.Flatten()
    yield "head", network.head


def _flat(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if type(module) is not nn.Sequential:
        yield name, module
        return
    for key, part in module.named_children():
        yield from _flat(f"{name}.{key}", part)


_ROWWISE = (nn.Identity, nn.ReLU, nn.Tanh, nn.Sigmoid)
"""Modules without weights that treat every record by itself. A module of ours says so by an
attribute ``rowwise``."""


class Part:
    """One layer of all replicas."""

    def __init__(self, modules: Sequence[nn.Module], names: tuple[str, str]) -> None:
        self.modules = modules
        self.weight, self.bias = names

    @staticmethod
    def key(module: nn.Module, device: str) -> tuple[Any, ...] | None:
        """What must be equal of the modules of replicas; None where they cannot be stacked."""
        kind = type(module)
        if module._forward_hooks or module._forward_pre_hooks:
            return None
        if kind is nn.Linear:
            parameters = module.named_parameters()
            return (kind, *((k, p.shape, p.dtype, p.requires_grad) for k, p in parameters))
        if kind is nn.Dropout:
            # A GPU draws the mask within the kernel that applies it.
            return (kind,) if device == "cpu" else None
        if isinstance(module, nn.Flatten):
            return (kind,) if (module.start_dim, module.end_dim) == (1, -1) else None
        if kind in _ROWWISE or getattr(kind, "rowwise", False):
            buffers = [(k, v.numpy(force=True).tobytes()) for k, v in module.named_buffers()]
            return (kind, repr(module), *buffers)
        return None

    def __call__(
        self, x: Tensor, weights: dict[str, Tensor], generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Its output ``[R, n, ...]`` of ``x`` ``[R, n, ...]``."""
        module = self.modules[0]
        if isinstance(module, nn.Linear):
            output: Tensor = _Linear.apply(  # type: ignore[no-untyped-call]
                x, weights[self.weight], weights.get(self.bias)
            )
            return output
        if isinstance(module, nn.Flatten):
            return x.flatten(2)
        if isinstance(module, nn.Dropout):
            return self._dropped(x, generators)
        rows: Tensor = module(x.flatten(0, 1))
        return rows.view(*x.shape[:2], *rows.shape[1:])

    def _dropped(self, x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """As ``nn.Dropout`` does it with each replica's own generator."""
        kept = torch.ones_like(x)
        for mask, module, rng in zip(kept, self.modules, generators, strict=True):
            assert isinstance(module, nn.Dropout)
            rate = module.p
            if rate == 1.0:
                mask.zero_()
            elif rate > 0.0:
                mask.bernoulli_(1.0 - rate, generator=rng).div_(1.0 - rate)
        return x * kept


class _Linear(torch.autograd.Function):
    """Linear layers side by side, with the same products as :func:`torch.nn.functional.linear`.

    Libraries add up a product of few columns in another order if it is one of a batch, so those
    are made one by one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Outputs ``[R, n, out]`` of ``x`` ``[R, n, in]``, weights ``[R, out, in]``."""
        ctx.save_for_backward(x, weight)
        if bias is None:
            product = _product if _narrow(x, weight) else torch.bmm
            return product(x, weight.mT)
        if _narrow(x, weight):
            rows = zip(bias, x, weight, strict=True)
            return torch.stack([torch.addmm(b, part, w.t()) for b, part, w in rows])
        return torch.baddbmm(bias.unsqueeze(1), x, weight.mT)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of those arguments that need one."""
        x, weight = ctx.saved_tensors
        entering, of_weight, of_bias = ctx.needs_input_grad
        product = _product if _narrow(x, weight) else torch.bmm
        return (
            product(gradient, weight) if entering else None,
            product(gradient.mT, x) if of_weight else None,
            gradient.sum(1) if of_bias else None,
        )


def _narrow(x: Tensor, weight: Tensor) -> bool:
    """Whether the rounding of a layer's products would differ in a batch of them, on a CPU."""
    leaving, entering = weight.shape[1:]
    few = leaving == 1 or (leaving < 16 and (entering < 64 or entering % 8 > 0))
    return few and x.device.type == "cpu"


def _product(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([torch.mm(one, other) for one, other in zip(a, b, strict=True)])
