"""Who made a pack and who ran it again, signed."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bench.contract.errors import UserError
from bench.exchange import pack, signatures
from bench.exchange.handled import handled
from bench.exchange.pack import Pack
from bench.exchange.signatures import Attestation, attestations, signed
from bench.exchange.submit import submit
from tests.exchange.test_untrusted import _made

pytestmark = pytest.mark.skipif(
    not shutil.which("ssh-keygen"), reason="ssh-keygen is not here: install openssh-client"
)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _key(tmp_path_factory.mktemp("keys") / "key")


def _key(path: Path) -> Path:
    words = ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(["ssh-keygen", *words], check=True)
    return path


def _allowed(folder: Path, *keys: tuple[str, str, Path]) -> Path:
    """A file of allowed signers: principal, options and key of each."""
    lines = (
        " ".join([name, *([how] if how else []), key.with_suffix(".pub").read_text().strip()])
        for name, how, key in keys
    )
    path = folder / f"allowed_signers_{len(list(folder.iterdir()))}"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _signed(path: Path, key: Path, **how: object) -> Pack:
    """A pack that is signed where it lies, read again."""
    if not path.exists():
        pack.write(_made(), path)
    told = {"by": "Me", "role": "ran again", "outcome": "Verified", "ran": 3, "agreed": 3} | how
    pack.annotate(path, signatures=signed(pack.read(path), key, **told))  # type: ignore[arg-type]
    return pack.read(path)


def _only(found: tuple[Attestation, ...]) -> Attestation:
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("name", ["folder", "one.zip"])
def test_a_signature_of_an_allowed_signer_is_trusted(key: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    before = pack.write(_made(), path)
    read = _signed(path, key)
    assert read.digest == before, "a signature is no part of what it signs"
    assert read.tables == {}
    one = _only(attestations(read, _allowed(tmp_path, ("lab@example.org", "", key))))
    assert one.trusted
    assert (one.signer, one.role, one.ran, one.agreed) == ("lab@example.org", "ran again", 3, 3)
    assert one.digest == before
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(key)], capture_output=True, text=True, check=True
    )
    assert one.fingerprint == shown.stdout.split()[1]


def test_nobody_is_trusted_who_is_not_allowed(key: Path, tmp_path: Path) -> None:
    read = _signed(tmp_path / "p.zip", key)
    other = _key(tmp_path / "other")
    for file, words in (
        (None, "no file of allowed signers"),
        (_allowed(tmp_path, ("lab", "", other)), "not among the allowed signers"),
        (_allowed(tmp_path, ("lab", 'valid-before="20200101"', key)), "not any more"),
        (_allowed(tmp_path, ("lab", 'namespaces="git"', key)), "not among the allowed signers"),
    ):
        one = _only(attestations(read, file))
        assert not one.trusted
        assert one.signer == "Me", "the name it gives itself"
        assert words in one.reason
        assert "not trusted" in one.sentence


def test_a_changed_statement_or_another_pack_is_not_vouched_for(key: Path, tmp_path: Path) -> None:
    read = _signed(tmp_path / "p.zip", key, agreed=1)
    allowed = _allowed(tmp_path, ("lab", "", key))
    name = next(n for n in read.signatures if n.endswith(".json"))
    better = read.signatures[name].replace(b'"agreed": 1', b'"agreed": 3')
    one = _only(attestations(replace(read, signatures={**read.signatures, name: better}), allowed))
    assert not one.trusted
    assert one.reason == "the signature does not fit the statement"
    one = _only(attestations(replace(read, digest="0" * 64), allowed))
    assert not one.trusted
    assert one.reason.startswith("it is about another pack")
    for data, signature in ((b"{", b""), (b'{"role": "made"}', b"x"), (b"\xff", b"")):
        parts = {name: data, f"{name}.sig": signature}
        one = _only(attestations(replace(read, signatures=parts), allowed))
        assert not one.trusted
    lone = {name: read.signatures[name]}
    assert not _only(attestations(replace(read, signatures=lone), allowed)).trusted


def test_a_typed_note_is_a_claim_and_a_signature_is_more(key: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    typed = {"by": "Famous Lab", "utc": "2026-01-02T00:00:00", "said": "Verified on a sample"}
    pack.write(replace(_made(), notes={"submitter": "us", "verification": typed}), path)
    allowed = _allowed(tmp_path, ("lab@example.org", "", key))
    assert (
        "by Famous Lab on 2026-01-02 (claimed, not signed)" in handled(pack.read(path))["verified"]
    )
    read = _signed(path, key)
    line = handled(read, allowed)["verified"]
    assert line.startswith("run again (3 of 3 agreed): signed by lab@example.org, key SHA256:")
    assert "Famous Lab" not in line
    both = pack.together([read, replace(_made(), suite="other")])
    assert "tiny: run again (3 of 3 agreed): signed by lab@" in handled(both, allowed)["verified"]


def test_the_environment_names_the_allowed_signers(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signatures.signers_file() is None
    allowed = _allowed(tmp_path, ("lab", "", key))
    monkeypatch.setenv(signatures.SIGNERS, str(allowed))
    assert signatures.signers_file() == allowed
    assert signatures.signers_file(tmp_path) == tmp_path
    read = _signed(tmp_path / "p.zip", key)
    assert "signed by lab" in handled(read)["verified"]
    monkeypatch.setenv(signatures.SIGNERS, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no file of allowed signers"):
        handled(read)


def test_packing_again_keeps_what_still_holds(key: Path, tmp_path: Path) -> None:
    first = submit(_made(), tmp_path / "a.zip", by="Me", allow_dirty=True, key=key)
    read = pack.read(tmp_path / "a.zip")
    assert _only(attestations(read, None)).role == "made"
    same = submit(read, tmp_path / "b", by="Me", allow_dirty=True)
    assert (same.digest, same.dropped) == (first.digest, 0)
    again = pack.read(tmp_path / "b")
    assert attestations(again, _allowed(tmp_path, ("lab", "", key)))[0].trusted
    less = submit(read, tmp_path / "c.zip", by="Me", defense="none", allow_dirty=True)
    assert (less.digest != first.digest, less.dropped) == (True, 1)
    assert pack.read(tmp_path / "c.zip").signatures == {}


def test_mistakes_are_sentences(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack.write(_made(), tmp_path / "p")
    read = pack.read(tmp_path / "p")
    for file, by, words in (
        (tmp_path / "nowhere", "Me", "there is no key"),
        (key, "", "give --by NAME"),
        (key, "a\nb", "is no name"),
        (tmp_path / "p" / pack.INDEX, "Me", "cannot sign with"),
    ):
        with pytest.raises(UserError, match=words):
            signed(read, file, by, "made", "it")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install openssh-client"):
        signed(read, key, "Me", "made", "it")


def test_an_unlisted_or_changed_signature_is_refused(key: Path, tmp_path: Path) -> None:
    path = tmp_path / "p"
    _signed(path, key)
    index = json.loads((path / pack.INDEX).read_text(encoding="utf-8"))
    (path / next(iter(index["signatures"]))).write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="is not what the pack was made with"):
        pack.read(path)
