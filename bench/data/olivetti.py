"""The Olivetti faces of scikit-learn: the people of ORL at 64 x 64 pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import fetch_olivetti_faces
from torch import Tensor

from bench.contract import UserError, require
from bench.data import common, pictures
from bench.data.orl import PEOPLE, PICTURES, FortyPeople

FILE = "olivetti_py3.pkz"
SHA256 = "cd913aa355d322b12bd5b59e8d3d201dff771cb4d1c0a32206d86d764d142a01"
SOURCE = "sklearn.datasets.fetch_olivetti_faces"
SIDE = 64


@dataclass(frozen=True)
class Olivetti(FortyPeople):
    """What ``sklearn.datasets.fetch_olivetti_faces`` keeps in the data root.

    scikit-learn stretches the grey values of all pictures together to [0, 1]; see
    :class:`bench.data.orl.FortyPeople` for what the other options mean.

    Attributes:
        folder: path below the data root: scikit-learn's ``data_home``. Its file is a pickle that
            scikit-learn loads: keep there what you trust, or what ``download`` brought.
        download: let scikit-learn fetch the file where it is missing.
        sha256: expected content hash of the pixels; None accepts any.
    """

    size: int | None = SIDE
    folder: str = "olivetti"
    download: bool = False
    sha256: str | None = SHA256

    name: ClassVar[str] = "olivetti"
    original: ClassVar[tuple[int, int]] = (SIDE, SIDE)
    source: ClassVar[str] = SOURCE

    def __post_init__(self) -> None:
        super().__post_init__()
        common.check_sha256_option("olivetti", self.sha256)

    def _own_files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        if self.download and self.sha256 is not None:
            return {}  # It may not be there yet; the option sha256 says what it must hold.
        return common.present(data_root, folder=f"{self.folder}/{FILE}")

    def _missing(self, data_root: Path | None) -> str | None:
        if self.download and data_root is not None:
            return None
        return common.missing_path(
            "olivetti",
            data_root,
            f"{self.folder}/{FILE}",
            f"{SOURCE} (dataset.olivetti.download=true lets it fetch the file)",
        )

    def _pictures(self, root: Path, look: pictures.Look) -> tuple[Tensor, str]:
        where = root / self.folder / FILE
        try:
            faces = fetch_olivetti_faces(
                data_home=root / self.folder, download_if_missing=self.download
            ).images
        except Exception as error:  # a pickle and a download fail in every way there is
            raise UserError(
                f"Data set 'olivetti': '{where}' cannot be read or fetched ({error}); remove it "
                f"and get it again with {SOURCE}."
            ) from error
        require(
            faces.shape == (PEOPLE * PICTURES, SIDE, SIDE),
            f"Data set 'olivetti': '{where}' holds pictures of shape {faces.shape}, expected "
            f"{(PEOPLE * PICTURES, SIDE, SIDE)}; get it again with {SOURCE}.",
        )
        sha256 = common.sha256_of_arrays(faces)
        common.check_sha256("olivetti", f"the pixels of '{where}'", self.sha256, sha256)
        assert look.size is not None
        if look.size != (SIDE, SIDE):
            size, box = look.size[::-1], Image.Resampling.BOX
            faces = np.stack([np.asarray(Image.fromarray(f).resize(size, box)) for f in faces])
        return torch.from_numpy(np.ascontiguousarray(faces)).unsqueeze(1), sha256
