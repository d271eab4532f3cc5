"""The notebook of the documentation, executed as a reader would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "first_attack.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's libraries, in this process
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = [_outputs(cell) for cell in notebook.cells if cell.cell_type == "code"]
    assert not any("stderr" in kinds for kinds in shown), "a run with progress=none says nothing"
    assert "text/html" in shown[2], "trials are a table"
    assert "text/html" in shown[3], "boards are a table"
    assert "image/png" in shown[4], "a plot is a picture"


def _outputs(cell: Any) -> set[str]:
    return {kind for output in cell.outputs for kind in output.get("data", {output.get("name"): 0})}
