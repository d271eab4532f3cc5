"""The Olivetti faces of scikit-learn: the people of ORL at 64 x 64 pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from PIL import Image
from sklearn.datasets import fetch_olivetti_faces
from torch import Tensor

from bench.contract import UserError, require
from bench.data import common, pictures
from bench.data.orl import PEOPLE, PICTURES, FortyPeople

FILE = "olivetti_py3.pkz"
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
        sha256: expected content hash of the pixels; None accepts any copy.
    """

    size: Annotated[int, Ge(16), Le(SIDE)] | None = SIDE
    folder: str = "olivetti"
    download: bool = False
    sha256: str | None = "cd913aa355d322b12bd5b59e8d3d201dff771cb4d1c0a32206d86d764d142a01"

    name = "olivetti"
    original = (SIDE, SIDE)
    source = "sklearn.datasets.fetch_olivetti_faces"
    names = (FILE,)

    def files(self, data_root: Path | None) -> Mapping[str, Path | Sequence[Path]]:
        """The pictures; see the base class."""
        theirs = super().files(data_root)
        if self.download and self.sha256 is not None:
            # The file may not be there yet; the option sha256 says what it must hold.
            return {name: paths for name, paths in theirs.items() if name != self.place}
        return theirs

    def _offered_at(self) -> str:
        return f"{self.source} (dataset.olivetti.download=true lets it fetch the file)"

    def missing(self, data_root: Path | None) -> str | None:
        """Nothing of its own that can be downloaded into the data root; see the base class."""
        if self.download and data_root is not None:
            return self._public_missing(data_root)
        return super().missing(data_root)

    def _pictures(self, root: Path, look: pictures.Look) -> tuple[Tensor, str]:
        where = root / self.folder / FILE
        try:
            faces = fetch_olivetti_faces(
                data_home=root / self.folder, download_if_missing=self.download
            ).images
        except Exception as error:  # a pickle and a download fail in every way there is
            raise UserError(
                f"Data set 'olivetti': '{where}' cannot be read or fetched ({error}); remove it "
                f"and get it again with {self.source}."
            ) from error
        require(
            faces.shape == (PEOPLE * PICTURES, SIDE, SIDE),
            f"Data set 'olivetti': '{where}' holds pictures of shape {faces.shape}, expected "
            f"{(PEOPLE * PICTURES, SIDE, SIDE)}; get it again with {self.source}.",
        )
        sha256 = common.sha256_of_arrays(faces)
        self._check_sha256(f"the pixels of '{where}'", sha256)
        assert look.size is not None
        if look.size != (SIDE, SIDE):
            size, box = look.size[::-1], Image.Resampling.BOX
            faces = np.stack([np.asarray(Image.fromarray(f).resize(size, box)) for f in faces])
        return torch.from_numpy(np.ascontiguousarray(faces)).unsqueeze(1), sha256
