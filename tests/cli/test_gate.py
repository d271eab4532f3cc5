"""invbench gate: exit codes, documents, and the registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.decide.deployed import ROLES
from tests.cli import deciding

DAY = ("--today", "2026-04-01")


@pytest.fixture
def call(monkeypatch, capsys) -> deciding.Call:
    return deciding.caller(monkeypatch, capsys)


def test_exit_codes_are_those_of_the_verdict(call, tmp_path) -> None:
    deciding.evidence(tmp_path)
    passes = call("gate", "default", deciding.described(tmp_path), *DAY)
    assert passes[0] == 0 and passes[1].startswith("PASS: scoring 1.")
    open_ = call("gate", "default", deciding.described(tmp_path, waivers=[]), *DAY)
    assert open_[0] == 3 and "conditional dp_expected: " in open_[1]
    blocked = call("gate", "default", deciding.described(tmp_path, artifact=None), *DAY)
    assert blocked[0] == 1 and "artifact_mismatch: " in blocked[1]
    late = call("gate", "default", deciding.described(tmp_path), "--today", "2026-09-30")
    assert late[0] == 1 and "evidence_too_old: " in late[1] and "EXPIRED" in late[1]


def test_documents_are_written_and_json_is_machine_readable(call, tmp_path) -> None:
    deciding.evidence(tmp_path)
    model, card = deciding.described(tmp_path), tmp_path / "card.md"
    words = ("--pia", tmp_path / "pia", "--card", card, "--json", *DAY)
    code, out, _ = call("gate", "default", model, *words)
    told = json.loads(out)
    assert code == 0 and told["verdict"] == "PASS"
    assert {f["state"] for f in told["findings"]} == {"waived"}
    assert told["results"][0]["L_upper"] == pytest.approx(0.058, abs=1e-3)
    page = (tmp_path / "pia" / "assessment.html").read_text(encoding="utf-8")
    assert "Privacy impact assessment: scoring" in page and "<script" not in page
    assert (tmp_path / "pia" / "assessment.md").read_text(encoding="utf-8").startswith("# Privacy")
    assert "What was not tested" in page or "what was not tested" in card.read_text()


def test_the_same_day_gives_the_same_bytes(call, tmp_path) -> None:
    deciding.evidence(tmp_path)
    model = deciding.described(tmp_path)
    for name in ("a", "b"):
        call("gate", "default", model, "--pia", tmp_path / name, *DAY)
    pages = [(tmp_path / name / "assessment.html").read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_mistakes_exit_with_2(call, tmp_path) -> None:
    deciding.evidence(tmp_path)
    assert "--template" in call("gate", "default")[2]
    code, _, err = call("gate", "default", deciding.described(tmp_path, owner=None))
    assert code == 2 and "owner" in err
    code, _, err = call("gate", "default", deciding.described(tmp_path, evidence=["nowhere"]))
    assert code == 2 and "nowhere" in err


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"teir": "T2"}, 2, "Did you mean 'tier'"),
        ({"tier": "T9"}, 2, "no tier 'T9'"),
        ({"defense": {"name": "sheild"}}, 2, "Did you mean 'shield'"),
        ({"exposure": {"access": "score", "users": "x"}}, 2, "exposure.access"),
        ({"artifact": {"path": "none.safetensors"}}, 2, "safetensors"),
        (
            {
                "waivers": [
                    {
                        "rule": "dp_expected",
                        "name": "D. O.",
                        "reason": "known",
                        "expires": "2026-03-31",
                    }
                ]
            },
            3,
            "expired on 2026-03-31",
        ),
        ({"exposure": {"access": "weights", "users": "x"}}, 1, "There is no evidence on attribute"),
    ],
)
def test_what_is_wrong_is_one_sentence(call, tmp_path, changes, code: int, said: str) -> None:
    deciding.evidence(tmp_path)
    got, out, err = call("gate", "default", deciding.described(tmp_path, **changes), *DAY)
    assert got == code and said in out + err and "Traceback" not in err
    assert code != 2 or len(err.strip().splitlines()) == 1


def test_files_that_are_not_there_or_no_yaml(call, tmp_path) -> None:
    code, _, err = call("gate", "default", tmp_path / "none.yaml")
    assert code == 2 and "none.yaml" in err and len(err.strip().splitlines()) == 1
    (tmp_path / "bad.yaml").write_text("a: [1", encoding="utf-8")
    code, _, err = call("gate", "default", tmp_path / "bad.yaml")
    assert code == 2 and "YAML" in err and len(err.strip().splitlines()) == 1
    code, _, err = call("gate", "strict", deciding.described(tmp_path))
    assert code == 2 and "no policy 'strict'" in err


EXAMPLES = Path(__file__).parents[2] / "results" / "published" / "examples"


@pytest.mark.parametrize(
    ("name", "verdict", "blocking"),
    [
        ("retail_passes", "PASS", set()),
        (
            "credit_blocks",
            "BLOCK",
            {
                "leakage_above_bar",
                "member_leakage_above_bar",
                "dp_claim_unsupported",
                "artifact_mismatch",
            },
        ),
        ("credit_dp_blocks", "BLOCK", {"member_leakage_above_bar"}),
        ("credit_conditional", "CONDITIONAL", set()),
    ],
)
def test_the_published_examples_say_what_they_promise(call, name, verdict, blocking) -> None:
    if not (EXAMPLES.parent / "retail" / "pack.json").is_file():
        pytest.skip("results/published is not there")
    told = json.loads(
        call("gate", "default", EXAMPLES / f"{name}.yaml", "--json", "--today", "2026-12-01")[1]
    )
    assert told["verdict"] == verdict
    assert {f["rule"] for f in told["findings"] if f["state"] == "block"} == blocking
    waived = {f["rule"] for f in told["findings"] if f["state"] == "waived"}
    assert "not_independently_verified" in waived


def test_the_template_can_be_filled_in(call) -> None:
    code, out, _ = call("gate", "--template")
    assert code == 0 and out.startswith("# A model that is to be released")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow about itself
def test_a_registered_model_has_one_version_however_often_it_is_judged(
    call, tmp_path, monkeypatch
) -> None:
    from mlflow import MlflowClient

    deciding.evidence(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow' / 'm.db'}"
    words = ("--register", f"tracking.uri={uri}", *DAY)
    people = zip(ROLES, ("Ann Owner", "Ben Lead", "Cleo Officer"), strict=True)
    signs = [{"role": role, "name": name, "date": "2026-03-20"} for role, name in people]
    assert "version 1." in call("gate", "default", deciding.described(tmp_path), *words)[2]
    again = call("gate", "default", deciding.described(tmp_path, sign_offs=signs), *words)
    assert "version 1, already there" in again[2]
    client = MlflowClient(uri)
    (version,) = client.search_model_versions("name = 'scoring'")
    tags = version.tags
    assert tags["privacy.pia_status"] == "waived" and tags["privacy.gate"] == "PASS"
    assert tags["privacy.Lstar_G3_upper95"] == "0.0575"
    assert tags["privacy.attack_worst_G3"] == "map" and tags["privacy.adaptive"] == "true"
    assert "Cleo Officer (dpo)" in tags["privacy.approver"]
    assert client.get_registered_model("scoring").aliases == {"candidate": 1}
    names = {f.path for f in client.list_artifacts(version.run_id, "assessment")}
    assert names == {"assessment/assessment.md", "assessment/assessment.html"}

    changed = deciding.described(tmp_path, purpose="Something else", version="2")
    assert "version 2." in call("gate", "default", changed, *words)[2]
    monkeypatch.setenv("COLUMNS", "240")
    code, out, _ = call("inventory", f"tracking.uri={uri}", *DAY)
    assert code == 0 and "bank; bureau" in out and "2 assessed, 0 expired." in out
