"""invbench gate: whose signatures count, and which policy a verdict says it is of."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.engine.conf import config_dir
from bench.exchange import pack
from bench.exchange.signatures import signed
from tests.cli import deciding

DAY = ("--today", "2026-04-01")


@pytest.fixture
def call(monkeypatch, capsys) -> deciding.Call:
    monkeypatch.delenv("INVBENCH_SIGNERS", raising=False)
    return deciding.caller(monkeypatch, capsys)


def _key(folder: Path, name: str) -> Path:
    path = folder / name
    words = ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(["ssh-keygen", *words], check=True)
    return path


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not here")
def test_only_a_trusted_signature_of_who_is_not_the_maker_is_a_verification(call, tmp_path) -> None:
    evidence = deciding.evidence(tmp_path)
    waiver = {"rule": "dp_expected", "name": "D. Officer", "reason": "known"}
    model = deciding.described(tmp_path, waivers=[{**waiver, "expires": "2026-06-30"}])
    lab, maker = _key(tmp_path, "lab"), _key(tmp_path, "maker")
    allowed = tmp_path / "allowed"
    allowed.write_text(
        "".join(f"{k.name} {k.with_suffix('.pub').read_text()}" for k in (lab, maker)),
        encoding="utf-8",
    )

    def verdict(*words: object) -> tuple[str, str]:
        told = json.loads(call("gate", "default", model, "--json", *words, *DAY)[1])
        open_ = [f for f in told["findings"] if f["state"] != "waived"]
        return told["verdict"], " ".join(f["rule"] + f["sentence"] for f in open_)

    def sign(key: Path, **how) -> None:
        words = {"role": "ran again", "outcome": "Verified", "ran": 3, "agreed": 3, **how}
        parts = signed(pack.read(evidence), key, key.name, **words)
        pack.annotate(evidence, signatures=parts)

    typed = {
        "verification": {"outcome": "verified", "by": "lab", "pack": pack.read(evidence).digest}
    }
    pack.annotate(evidence, notes=typed)
    assert "only typed" in verdict("--signers", allowed)[1]
    sign(maker, role="made")
    sign(maker)
    assert "not_independently_verified" in verdict("--signers", allowed)[1]
    sign(lab)
    assert "no file of allowed signers" in verdict()[1]
    assert verdict("--signers", allowed) == ("PASS", "")
    sign(lab, ran=3, agreed=2)
    assert verdict("--signers", allowed)[0] == "BLOCK"


def test_every_verdict_says_how_its_policy_differs_from_the_shipped_one(call, tmp_path) -> None:
    deciding.evidence(tmp_path)
    shipped = (config_dir() / "policy" / "default.yaml").read_text(encoding="utf-8")
    own = tmp_path / "default.yaml"
    own.write_text(
        shipped.replace("artifact_mismatch: block", "artifact_mismatch: off"), encoding="utf-8"
    )
    model = deciding.described(tmp_path, artifact=None)
    code, out, _ = call("gate", own, model, "--pia", tmp_path / "pia", *DAY)
    told = json.loads(call("gate", own, model, "--json", *DAY)[1])
    assert code == 0 and "NOT the shipped" in out
    pages = [(tmp_path / "pia" / f"assessment.{end}").read_text("utf-8") for end in ("md", "html")]
    for text in (out, *pages):
        assert text.count("(shipped: ") == 3 and told["policy_sha256"][:12] in text
    assert len(told["policy_differences"]) == 3  # of each tier
    same = json.loads(call("gate", "default", model, "--json", *DAY)[1])
    assert same["policy_differences"] == [] and same["policy_sha256"] != told["policy_sha256"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_age_days: 180", "max_age_days: 1e9"),
        ("max_age_days: 180", f"max_age_days: {'9' * 5000}"),
        ("tau: 0.20", "tau: .nan"),
        ("name: default", f"name: {'[' * 3000}"),
        ("name: default", f"name: {'x' * 100_000}"),
        ("tau: 0.20", f"tau: {'x' * 100_000}"),
    ],
)
def test_a_hostile_policy_is_one_short_sentence(call, tmp_path, old: str, new: str) -> None:
    shipped = (config_dir() / "policy" / "default.yaml").read_text(encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(shipped.replace(old, new, 1), encoding="utf-8")
    code, out, err = call("gate", own, deciding.described(tmp_path), *DAY)
    assert code == 2 and out == "" and len(err.strip().splitlines()) == 1 and len(err) < 1000
