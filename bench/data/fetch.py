"""Data sets that can be fetched: their addresses, their hashes, and a download that is all or
nothing.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pooch

from bench.contract import UserError, require
from bench.data import lock
from bench.data.diabetes130 import Diabetes130
from bench.data.german import German
from bench.data.groceries import Groceries
from bench.data.movielens import MovieLens
from bench.data.shokri import Location30, Purchase100, Texas100

MIRROR = "INVBENCH_DATA_MIRROR"
"""Environment variable: fetch ``$INVBENCH_DATA_MIRROR/FILE`` instead of the published addresses,
such as a data root that a colleague serves; the hashes stay."""
TIMEOUT_S = 30.0
_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases"
_RAW = "https://raw.githubusercontent.com"
_SHOKRI = "https://github.com/privacytrustlab/datasets/raw/master/dataset"
_MEHNAZ = (
    f"{_RAW}/smehnaz/Black-box-Model-Inversion-Attribute-Inference/"
    "c403d3c2e42d7570fa842f66daeff2a4782eeb6b/data"
)


@dataclass(frozen=True)
class Remote:
    """A file that can be fetched.

    Attributes:
        file: path below the data root.
        url: where it is published.
        digest: what the file must hash to: ``sha256:...``, or ``md5:...`` where the publisher
            gives that only; None: no hash is published, the first fetch is trusted and noted
            beside the file.
        skip: leading lines of what is published that are left out; a mirror has the file without.
    """

    file: str
    url: str
    digest: str | None
    skip: int = 0

    @property
    def address(self) -> str:
        """The published address, or the one below ``MIRROR``."""
        mirror = os.environ.get(MIRROR)
        return f"{mirror.rstrip('/')}/{self.file}" if mirror else self.url


def _one(file: str, url: str, sha256: str | None) -> tuple[Remote, ...]:
    return (Remote(file, url, sha256 and f"sha256:{sha256}"),)


def _mehnaz(**digests: str) -> tuple[Remote, ...]:
    return tuple(
        Remote(f"mehnaz_attr_inference/{name}.csv", f"{_MEHNAZ}/{name}.csv", f"sha256:{digest}")
        for name, digest in digests.items()
    )


REGISTRY: Mapping[str, tuple[Remote, ...]] = {
    "adult": (
        Remote(
            "adult/adult.data",
            f"{_UCI}/adult/adult.data",
            "sha256:5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
        ),
        Remote(
            "adult/adult-test.csv",
            f"{_UCI}/adult/adult.test",
            "sha256:72567b94f5c1a6f8501377dd80f93892c3848ff071cf91ba47e00b0785a28074",
            skip=1,
        ),
    ),
    "adult_mehnaz": _mehnaz(
        Adult_35222="b5349f41ebe480f5273661d5ea36fc596c0654747a3406dffc3e3d1c025b6a2b",
        Adult_10000="26763cde1cb4e23fe51725019c74a9dcb0cd92632cfade254e8f7d2c43ae15e0",
    ),
    "breastmnist": (
        Remote(
            "medmnist/breastmnist.npz",
            "https://zenodo.org/records/10519652/files/breastmnist.npz",
            "md5:750601b1f35ba3300ea97c75c52ff8f6",
        ),
    ),
    "diabetes130": _one(Diabetes130.file, f"{_UCI}/00296/dataset_diabetes.zip", Diabetes130.sha256),
    "german": _one(German.file, f"{_RAW}/jbrownlee/Datasets/master/german.csv", German.sha256),
    "groceries": _one(
        Groceries.file,
        f"{_RAW}/stedy/Machine-Learning-with-R-datasets/master/groceries.csv",
        Groceries.sha256,
    ),
    "gss": _mehnaz(
        GSS_15235="49b1f7755cd9c072645809c239865e9dc4b42a811950e214f43587a3e5e526ef",
        GSS_5079="857d1d93e6c55f21bab34a27bf359921421a590e656a18d2e6b7ebc1e25ad90a",
    ),
    "location30": _one(Location30.file, f"{_SHOKRI}_location.tgz", Location30.sha256),
    "movielens": _one(MovieLens.file, MovieLens.source, MovieLens.sha256),
    "purchase100": _one(Purchase100.file, f"{_SHOKRI}_purchase.tgz", Purchase100.sha256),
    "steak": _mehnaz(
        fte_full="1e3900a0310f41410c9c56d5b2b4390cefd8cd5df9dc8e5073bf351765f5cf03",
        fte_322="9b3d27a8d953e88397ebfd6ef19b9e61e2d509094c70f35505f6a20b42c4afd5",
    ),
    "texas100": _one(Texas100.file, f"{_SHOKRI}_texas.tgz", Texas100.sha256),
}
"""Dataset option to its files. More archives are public that ask for a form or must be unpacked;
their loaders say where."""


class Progress(Protocol):
    """What pooch tells about a download (a subset of tqdm's interface)."""

    total: int

    def update(self, n: int) -> Any:
        """``n`` more bytes have come."""

    def reset(self) -> Any:
        """Count from 0 again."""

    def close(self) -> Any:
        """The download is over."""


def fetch(
    name: str, remote: Remote, data_root: Path, progress: Progress | None = None
) -> tuple[bool, str]:
    """Download a file, unless it is there already.

    The file gets its name only when it is whole and its hash is right; whatever goes wrong before
    leaves nothing.

    Args:
        name: the data set, for messages.
        remote: the file.
        data_root: folder of data sets; made if it is missing.
        progress: told how far the download is.

    Returns:
        Whether it was downloaded, and one sentence.

    Raises:
        UserError: no connection, an HTTP error, a download cut off, another hash than expected, or
            another file of that name.
    """
    path = data_root / remote.file
    expected = remote.digest or _digest_of(lock.noted(path))
    if path.exists():
        _compare(name, path, expected, "move it away to fetch the published one")
        return False, f"'{path}' is there{', hash as expected' if expected else ''}."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            part = Path(folder) / path.name
            _download(name, remote, part, progress)
            if remote.skip and remote.address == remote.url:
                lines = part.read_bytes().splitlines(keepends=True)
                part.write_bytes(b"".join(lines[remote.skip :]))
            _compare(name, part, expected, f"nothing is kept of what {remote.address} serves now")
            sha256 = pooch.file_hash(str(part), alg="sha256")
            if expected is None:
                _require_whole(name, part, remote)
                lock.note(path, sha256)
            part.replace(path)
    except OSError as error:
        raise UserError(
            f"Data set '{name}': '{path}' cannot be written ({error.strerror}); nothing is kept. "
            "Make room or name another folder with data_root=FOLDER."
        ) from error
    judgement = (
        "as expected"
        if expected
        else f"trusted on first use (none is published) and noted in '{lock.lock_of(path).name}'"
    )
    return True, f"'{path}' fetched from {remote.address}, sha256 {sha256}, {judgement}."


def _digest_of(sha256: str | None) -> str | None:
    return None if sha256 is None else f"sha256:{sha256}"


def _compare(name: str, path: Path, expected: str | None, advice: str) -> None:
    if expected is None:
        return
    kind, _, value = expected.partition(":")
    its_hash = pooch.file_hash(str(path), alg=kind)
    require(
        its_hash == value,
        f"Data set '{name}': '{path.name}' has {kind} {its_hash}, expected {value}; {advice}.",
    )


def _download(name: str, remote: Remote, part: Path, progress: Progress | None) -> None:
    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=progress or False, timeout=TIMEOUT_S)
    try:
        pooch.retrieve(
            remote.address, None, fname=part.name, path=part.parent, downloader=downloader
        )
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk, not the network
            raise
        answer = getattr(error, "response", None)
        why = (
            f"the server answers {answer.status_code} {answer.reason}; if the address has changed, "
            f"get the file from its source, keep it as '{remote.file}'"
            if answer is not None
            else f"the connection failed or broke off ({type(error).__name__}); check the network "
            "and run the command again"
        )
        raise UserError(
            f"Data set '{name}': {remote.address} cannot be fetched: {why}. Nothing is kept."
        ) from error


def _require_whole(name: str, part: Path, remote: Remote) -> None:
    """Without a hash to compare with, at least refuse a page or half an archive."""
    try:
        with gzip.open(part) as file:
            if not file.read(1):
                raise EOFError("it is empty")
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"Data set '{name}': what {remote.address} serves is no whole .tgz archive ({error}); "
            "nothing is kept. Run the command again."
        ) from error
