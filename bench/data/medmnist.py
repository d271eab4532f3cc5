"""MedMNIST: small medical pictures in one ``.npz`` file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from bench.contract import Fraction, Modality, Split, Splits, UserError, require
from bench.data import common
from bench.data.common import Ints
from bench.data.loader import Stored
from bench.data.pictures import Pixels, to_float

_ORGANS = """bladder | left femur | right femur | heart | left kidney | right kidney | liver |
        left lung | right lung | pancreas | spleen"""
CLASSES = common.columns(f"""
    bloodmnist: basophil | eosinophil | erythroblast | immature granulocyte | lymphocyte |
        monocyte | neutrophil | platelet
    breastmnist: malignant | normal or benign
    dermamnist: actinic keratosis or intraepithelial carcinoma | basal cell carcinoma |
        benign keratosis-like lesion | dermatofibroma | melanoma | melanocytic nevus |
        vascular lesion
    octmnist: choroidal neovascularization | diabetic macular edema | drusen | normal
    organamnist: {_ORGANS}
    organcmnist: {_ORGANS}
    organsmnist: {_ORGANS}
    pathmnist: adipose | background | debris | lymphocytes | mucus | smooth muscle |
        normal colon mucosa | cancer-associated stroma | colorectal adenocarcinoma epithelium
    pneumoniamnist: normal | pneumonia
    retinamnist: grade 0 | grade 1 | grade 2 | grade 3 | grade 4
    tissuemnist: collecting duct or connecting tubule | distal convoluted tubule |
        glomerular endothelial cell | interstitial endothelial cell | leukocyte | podocyte |
        proximal tubule segment | thick ascending limb
""")
"""The members of MedMNIST v2 with pictures in two dimensions and one label each."""


@dataclass(frozen=True)
class MedMnist(Stored):
    """Grey or RGB pictures whose class is a disease, an organ, a cell or a tissue.

    The official ``train`` is split into members and public records, class by class; the official
    ``val`` is public too; ``test`` stays as it is. Of pictures that stand in two splits bit for
    bit the one in test, else the member stays, and the facts count what was dropped.

    No class is a person, so a class representative would disclose a concept and is not asked
    for (PROTOCOL 2.1).

    Attributes:
        flag: name of the set, such as ``breastmnist``; its file is ``medmnist/FLAG.npz``.
        public: share of the official training records that the attacker holds.
        classes: names of the classes; empty: those of ``flag``, where it is a known one.
        file: path below the data root; None follows from ``flag``.
        sha256: expected content hash of the six arrays; None accepts any copy. The md5 sums that
            the medmnist package knows are those of its own files and differ for a re-saved one.
    """

    flag: str = "breastmnist"
    public: Fraction = 0.5
    classes: tuple[str, ...] = ()
    file: str | None = None

    sector: ClassVar[str] = "medical"
    modality: ClassVar[Modality] = "image"
    goals: ClassVar[tuple[str, ...]] = ("output_reconstruction", "gradient_reconstruction")
    utility_metric: ClassVar[str] = "balanced_accuracy"
    credit = "Yang, Shi, Wei, Liu, Zhao, Ke, Pfister, Ni, MedMNIST v2, Scientific Data 2023"
    source = "https://medmnist.com (https://zenodo.org/records/10519652)"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            bool(self.classes) or self.flag in CLASSES,
            f"dataset.{self.flag}.flag is '{self.flag}'; allowed: {', '.join(CLASSES)}; for "
            "another set with one label a picture name its classes in 'classes'.",
        )
        require(
            len(self.classes) != 1,
            f"dataset.{self.flag}.classes is {list(self.classes)}; give at least two names.",
        )

    @property
    def name(self) -> str:  # type: ignore[override]
        """``flag``."""
        return self.flag

    @property
    def terms(self) -> str:  # type: ignore[override]
        """As the publishers of MedMNIST state them."""
        return "CC BY-NC 4.0" if self.flag == "dermamnist" else "CC BY 4.0"

    @property
    def _classes(self) -> tuple[str, ...]:
        return self.classes or CLASSES[self.flag]

    def _paths(self) -> Sequence[str]:
        return (self.file or f"medmnist/{self.flag}.npz",)

    @property
    def n_classes(self) -> int:
        """Number of names in ``classes``, given or known from ``flag``."""
        return len(self._classes)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check and split by ``seed``; see the base class."""
        path = self._root(data_root) / self._paths()[0]
        arrays = self._read(path)
        sha256 = common.sha256_of_arrays(*(a for pair in arrays.values() for a in pair))
        self._check_sha256(f"file '{path}'", sha256)
        pixels = np.concatenate([images for images, _ in arrays.values()])
        y = np.concatenate([labels for _, labels in arrays.values()])
        x = to_float(pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2))

        ends = np.cumsum([len(labels) for _, labels in arrays.values()])
        official, val, test = np.split(np.arange(len(y)), ends[:-1])
        try:
            train, held = train_test_split(
                official, test_size=self.public, stratify=y[official], random_state=seed
            )
        except ValueError as error:
            raise UserError(
                f"Data set '{self.flag}' cannot be split with public={self.public}: {error} "
                f"Check '{path}', or choose another share."
            ) from error
        (test, train, public), dropped = common.without_copies(
            x, test, np.sort(train), np.concatenate([np.sort(held), val])
        )
        card = self._card(
            shape=tuple(x.shape[1:]),
            class_names=self._classes,
            source=f"{self.credit}; {self.source}. No patient ids: one patient may stand in "
            "several splits.",
        )
        return common.finish(
            card,
            Split(x, torch.from_numpy(y), torch.arange(len(y))),
            (train, test, public),
            sha256=sha256,
            split_protocol=f"official train: {1 - self.public:g} train, {self.public:g} public, "
            "by class; official val: public; official test: test",
            duplicates_dropped=dropped,
        )

    def _read(self, path: Path) -> dict[str, tuple[Pixels, Ints]]:
        """Pictures uint8 ``[n, height, width(, 3)]`` and labels ``[n]`` of train, val, test.

        Raises:
            UserError: no such archive, or arrays of another kind than MedMNIST's.
        """
        where = f"Data set '{self.flag}': file '{path}'"
        advice = f"get it again from {self.source}."
        parts: dict[str, tuple[Pixels, Ints]] = {}
        try:
            with np.load(path, allow_pickle=False) as archive:
                for part in ("train", "val", "test"):
                    images, labels = archive[f"{part}_images"], archive[f"{part}_labels"]
                    parts[part] = images, labels[:, 0] if labels.shape[1:] == (1,) else labels
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"{where} cannot be read ({error}); {advice}") from error
        for part, (images, labels) in parts.items():
            grey, colour = images.ndim == 3, images.ndim == 4 and images.shape[3] == 3
            require(
                images.dtype == np.uint8 and (grey or colour),
                f"{where}: {part}_images is {images.dtype} {images.shape}; expected uint8 "
                f"(n, height, width) or (n, height, width, 3): {advice}",
            )
            require(
                labels.shape == images.shape[:1] and np.issubdtype(labels.dtype, np.integer),
                f"{where}: {part}_labels is {labels.dtype} {labels.shape} for {len(images)} "
                "pictures; expected one whole number each (sets with several labels a picture, "
                f"such as chestmnist, cannot be used): {advice}",
            )
            require(
                len(labels) > 0 and labels.min() >= 0 and labels.max() < self.n_classes,
                f"{where}: {part}_labels is empty or outside 0 to {self.n_classes - 1}; name all "
                f"classes in dataset.{self.flag}.classes, or {advice}",
            )
        return {part: (images, labels.astype(np.int64)) for part, (images, labels) in parts.items()}
