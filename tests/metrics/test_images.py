from __future__ import annotations

import pytest
import torch

from bench.contract import generator
from bench.metrics.images import mse, psnr, ssim
from tests.metrics.faces import SHAPE


def test_ssim_by_definition() -> None:
    x = torch.rand(3, *SHAPE, generator=generator(0))
    y = torch.rand(3, *SHAPE, generator=generator(1))
    assert torch.allclose(ssim(x, x), torch.ones(3), atol=1e-5)
    assert torch.allclose(ssim(x, y), ssim(y, x))
    a, b = (v[0, 0].unfold(0, 7, 1).unfold(1, 7, 1).flatten(2).double() for v in (x, y))
    ma, mb = a.mean(2), b.mean(2)
    cov = ((a - ma.unsqueeze(2)) * (b - mb.unsqueeze(2))).sum(2) / 48
    top = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
    bottom = (ma**2 + mb**2 + 1e-4) * (a.var(2) + b.var(2) + 9e-4)
    assert float(ssim(x, y)[0]) == pytest.approx(float((top / bottom).mean()), abs=1e-4)


def test_mse_and_psnr_by_hand() -> None:
    a = torch.zeros(2, 3, 16, 24)
    b = a.clone()
    b[1, 0] = 0.3
    assert mse(a, b).tolist() == pytest.approx([0.0, 0.03])
    assert psnr(a, b).tolist() == pytest.approx([100.0, 15.2288], abs=1e-3)
