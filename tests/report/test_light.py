"""Reading results needs neither PyTorch nor Ray: who looks at boards does not wait for them."""

from __future__ import annotations

import subprocess
import sys

READERS = (
    "bench.report.boards",
    "bench.report.site",
    "bench.report.frame",
    "bench.decide.recommend",
    "bench.decide.assessment",
    "bench.exchange.compare",
    "bench.exchange.merge",
    "bench.exchange.recheck",
)


def test_reading_results_loads_neither_torch_nor_ray() -> None:
    code = f"import sys, {', '.join(READERS)}; print({{'torch', 'ray'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")
