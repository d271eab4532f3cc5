"""The store: one database and a folder of large files. It is the truth; all else is rebuilt.

``<root>/store.sqlite`` holds records, failures, runs, claims and small files; every file above 64
KiB stands in ``<root>/blobs`` under the digest of what it holds. Results are written once and
atomically; a failure is appended, never overwritten. No pickle is ever written or read.

Every record carries a seal: a digest of its place, its text and the digests of its files. What
does not agree with its seal counts as not there, whoever reads it; :attr:`Store.faults` says which
that were. A run sets such a result aside, below ``<root>/aside``, and makes it again. A database
that SQLite cannot read is built anew from every row of it that agrees with its seal. A seal shows
damage and mistakes; who edits a row and its seal together is not found out.
"""

from __future__ import annotations

from bench.engine.store.blobs import BLOBS, SMALL, FileBlobs
from bench.engine.store.claims import LEASE_S, Claims
from bench.engine.store.opening import STORE_VERSION
from bench.engine.store.reading import FAULTS
from bench.engine.store.salvage import ASIDE
from bench.engine.store.store import Store

__all__ = [
    "ASIDE",
    "BLOBS",
    "FAULTS",
    "LEASE_S",
    "SMALL",
    "STORE_VERSION",
    "Claims",
    "FileBlobs",
    "Store",
]
