"""Who made a pack and who ran it again, signed with an SSH key over the pack's digest.

A signature is OpenSSH's own (``ssh-keygen -Y sign``), over a small JSON statement that names the
digest. Statements lie in the pack under ``signatures/``, listed in its index and outside of its
digest, which they must not change. Whose key it is says the reader's own list of allowed signers,
in OpenSSH's format (``man ssh-keygen``, ALLOWED SIGNERS): who is not in it is not trusted, whatever
name the statement gives.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from bench.contract.documents import parse_json
from bench.contract.errors import UserError, require
from bench.contract.names import Name, unseen
from bench.exchange.pack import Pack
from bench.exchange.parts import SIGNATURES

NAMESPACE = "inversion-bench-pack"
"""Of our signatures, so that one made for something else is none of ours."""
SIGNERS = "INVBENCH_SIGNERS"
"""Environment variable that names the file of allowed signers."""
MOST = 64
"""Most signatures of a pack."""
Role = Literal["made", "ran again"]
_PATIENCE_S = 60


def _seen(text: str) -> str:
    if unseen(text):
        raise ValueError(f"{unseen(text)} changes what is shown around it")
    return text


_Text = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_seen)]


class Statement(BaseModel):
    """What is signed.

    Attributes:
        statement: version of this form.
        role: what the signer did: ``made`` the pack, or ``ran again`` a sample of it.
        by: name that the signer gives; whose key it is says the list of allowed signers alone.
        suite: of the pack.
        digest: of the pack.
        outcome: in a sentence, without its full stop.
        utc: when, by the signer's clock.
        ran: trials that were run again.
        agreed: how many of them agree with their records.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    statement: Literal[1] = 1
    role: Role
    by: Name
    suite: _Text
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    outcome: _Text
    utc: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT[0-9:+.Z\-]{5,25}$")]
    ran: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    agreed: Annotated[int, Field(ge=0, le=1_000_000)] = 0


@dataclass(frozen=True)
class Attestation:
    """A signed statement about a pack, and whether it holds.

    Attributes:
        role: ``made`` or ``ran again``.
        signer: who signed, by the list of allowed signers; where it is not trusted, the name that
            the statement gives.
        fingerprint: of the key, ``SHA256:...``; empty where the signature does not hold.
        utc: when, by the signer's clock.
        digest: of the pack that was signed.
        outcome: in a sentence, without its full stop.
        ran: trials that were run again.
        agreed: how many of them agree with their records.
        trusted: whether the signature holds, is of this very pack, and is of an allowed signer.
        reason: why it is not trusted, in words that follow the signer's name; empty: it is.
    """

    role: Role
    signer: str
    fingerprint: str
    utc: str
    digest: str
    outcome: str
    ran: int
    agreed: int
    trusted: bool
    reason: str = ""

    @property
    def sentence(self) -> str:
        """It in words, without a full stop."""
        did = "made" if self.role == "made" else f"run again ({self.agreed} of {self.ran} agreed)"
        if self.trusted:
            return f"{did}: signed by {self.signer}, key {self.fingerprint}, {self.utc[:10]}"
        key = f", key {self.fingerprint}" if self.fingerprint else ""
        return f"{did}: signed in the name of {self.signer}{key}, not trusted: {self.reason}"


def signed(
    pack: Pack,
    key: Path,
    by: str,
    role: Role,
    outcome: str,
    ran: int = 0,
    agreed: int = 0,
) -> dict[str, bytes]:
    """The signatures of a pack with one more: a statement about its digest.

    Args:
        pack: as it was written or read, with its digest.
        key: a private SSH key, or a public one whose private half is in the SSH agent.
        by: name of the signer.
        role: what the signer did.
        outcome: in a sentence, without its full stop.
        ran: trials that were run again.
        agreed: how many of them agree with their records.

    Returns:
        Parts by name, for :attr:`bench.exchange.pack.Pack.signatures`.

    Raises:
        UserError: ``ssh-keygen`` is not here, or cannot sign with this key.
    """
    require_key(key, by)
    utc = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        statement = Statement(
            role=role,
            by=by,
            suite=pack.suite,
            digest=pack.digest,
            outcome=outcome,
            utc=utc,
            ran=ran,
            agreed=agreed,
        )
    except ValidationError as error:
        raise UserError(f"--by {by!a} is no name: {error.errors()[0]['msg']}.") from error
    data = (json.dumps(statement.model_dump(), indent=1, sort_keys=True) + "\n").encode()
    done = _ssh(["sign", "-f", str(key), "-n", NAMESPACE], data)
    require(
        done.returncode == 0 and done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"),
        f"--sign: 'ssh-keygen' cannot sign with '{key}' ({_last_line(done.stderr)}); name a "
        "private SSH key, or a public one whose private half is in the agent.",
    )
    name = f"{SIGNATURES}/{hashlib.sha256(data).hexdigest()[:16]}.json"
    return {**pack.signatures, name: data, f"{name}.sig": done.stdout}


def require_key(key: Path | None, by: str) -> None:
    """Refuse to sign without a name or a key, before anything is written.

    Raises:
        UserError: there is none of the two; no ``key`` asks for no signature.
    """
    if key is None:
        return
    require(bool(by.strip()), "--sign signs in somebody's name; give --by NAME.")
    require(key.is_file(), f"--sign: there is no key '{key}'; 'ssh-keygen -t ed25519' makes one.")


def signers_file(given: Path | None = None) -> Path | None:
    """The file of allowed signers: the given one, else that of ``INVBENCH_SIGNERS``, else None."""
    named = os.environ.get(SIGNERS, "")
    return given or (Path(named) if named else None)


def attestations(pack: Pack, signers: Path | None = None) -> tuple[Attestation, ...]:
    """What is signed about a pack; a signature that does not hold is told, not trusted.

    Keys are judged by today: one that has expired (``valid-before``) or was taken out of the list
    vouches for nothing any more, since when something was signed is only the signer's word.

    Args:
        pack: as it was read.
        signers: file of allowed signers; None: nobody is trusted.

    Raises:
        UserError: ``ssh-keygen`` or the file of signers is not here, or there are too many
            signatures.
    """
    statements = sorted(name for name in pack.signatures if name.endswith(".json"))
    if not statements:
        return ()
    require(
        len(statements) <= MOST,
        f"'{pack.suite}' has {len(statements)} signatures, {MOST} are allowed; get it again.",
    )
    require(
        signers is None or signers.is_file(),
        f"There is no file of allowed signers '{signers}'; a line of it is 'NAME KEYTYPE KEY'.",
    )
    found = [_attestation(pack, name, signers) for name in statements]
    return tuple(sorted(found, key=lambda a: (a.utc, a.signer)))


def holding(pack: Pack, digest: str) -> Mapping[str, bytes]:
    """The signatures of a pack, if what is written of it has the same digest; else none."""
    return pack.signatures if pack.digest == digest else {}


def _attestation(pack: Pack, name: str, signers: Path | None) -> Attestation:
    data, signature = pack.signatures[name], pack.signatures.get(f"{name}.sig", b"")
    try:
        said = Statement.model_validate(parse_json(data, f"'{name}'"))
    except (UserError, ValidationError):
        return Attestation(
            "made", "somebody", "", "", "", "", 0, 0, False, "its statement cannot be read"
        )
    signer, fingerprint, reason = _checked(data, signature, signers)
    if not reason and said.digest != pack.digest:
        reason = f"it is about another pack ({said.digest[:16]!a})"
    return Attestation(
        said.role,
        said.by if reason else signer,
        fingerprint,
        said.utc,
        said.digest,
        said.outcome,
        said.ran,
        said.agreed,
        not reason,
        reason,
    )


def _checked(data: bytes, signature: bytes, signers: Path | None) -> tuple[str, str, str]:
    """Allowed signer, fingerprint of the key, and why it is not trusted."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "signature"
        file.write_bytes(signature)
        held = _ssh(["check-novalidate", "-n", NAMESPACE, "-s", str(file)], data)
        key = re.search(rb"SHA256:[A-Za-z0-9+/=]+", held.stdout)
        if held.returncode != 0 or key is None:
            return "", "", "the signature does not fit the statement"
        fingerprint = key[0].decode()
        if signers is None:
            return "", fingerprint, f"no file of allowed signers was given (--signers, {SIGNERS})"
        known = _ssh(["find-principals", "-s", str(file), "-f", str(signers)], b"")
        for name in known.stdout.decode("utf-8", "replace").splitlines():
            where = ["-f", str(signers), "-I", name, "-n", NAMESPACE, "-s", str(file)]
            if _ssh(["verify", *where], data).returncode == 0:
                return name, fingerprint, ""
        return "", fingerprint, "the key is not among the allowed signers, or not any more"


def _ssh(words: list[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run ``ssh-keygen -Y``.

    Raises:
        UserError: it is not here, or does not answer.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        raise UserError(
            "Signatures need the program 'ssh-keygen', which is not here; install OpenSSH's client "
            "(Debian, Ubuntu: apt-get install openssh-client; it comes with macOS and Windows)."
        )
    how: dict[str, Any] = {"input": data, "capture_output": True, "timeout": _PATIENCE_S}
    try:
        return subprocess.run([program, "-Y", *words], check=False, **how)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"'ssh-keygen' does not answer: {error}.") from error


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return ascii(lines[-1][:120]) if lines else "no reason given"
