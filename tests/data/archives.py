"""Tiny archives in the formats of Shokri et al. and of GroupLens."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt


def bits(n: int, width: int, classes: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Features 0/1 ``[n, width]`` and labels from 1, every class equally often."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes + 1
    rate = rng.random((classes, width)) ** 3
    return (rng.random((n, width)) < rate[y - 1]).astype(np.int64), y


def tgz(path: Path, files: dict[str, str]) -> Path:
    """An archive of text files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(text.encode())
            archive.addfile(item, io.BytesIO(text.encode()))
    return path


def rows(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64] | None, quoted: bool = False) -> str:
    """One record a line, the label first if there is one."""
    lines = [",".join(map(str, row)) for row in x.tolist()]
    if y is not None:
        lines = [
            f'"{label}",{line}' if quoted else f"{label},{line}"
            for label, line in zip(y.tolist(), lines, strict=True)
        ]
    return "\n".join(lines) + "\n"


def movielens(
    path: Path, ratings: list[tuple[int, int, float]], tags: list[tuple[int, str]]
) -> Path:
    """An archive as GroupLens packs it: ratings of (person, film), tags of films."""
    path.parent.mkdir(parents=True, exist_ok=True)
    films = sorted({film for _, film, _ in ratings})
    tables = {
        "ratings": "userId,movieId,rating,timestamp\n"
        + "".join(f"{u},{m},{r},1\n" for u, m, r in ratings),
        "movies": "movieId,title,genres\n" + "".join(f'{m},"Film, {m}",Drama\n' for m in films),
        "tags": "userId,movieId,tag,timestamp\n" + "".join(f"1,{m},{t},1\n" for m, t in tags),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in tables.items():
            archive.writestr(f"ml-latest-small/{name}.csv", text)
    return path
