"""Logs of one's own: what is flagged, what cannot be, and what is said of it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.cli import main
from bench.contract import Gateway
from bench.engine.trail import parquet

Audit = Callable[..., tuple[int, str, str]]


@pytest.fixture
def audit(monkeypatch, capsys) -> Audit:
    """Run the verb; its exit code, output and errors."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["invbench", "audit", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def log(benign: int = 60, queries: int = 80, probers: int = 1, start: float = 0.0) -> pd.DataFrame:
    """Accounts that ask ordinary records of four classes; probers ask far ones of one class."""
    rng = np.random.default_rng(0)
    parts = []
    for i in range(benign + probers):
        probes = i >= benign
        n = 200 if probes else queries
        x = rng.normal(size=(n, 5)) + (30.0 if probes else 0.0)
        parts.append(
            pd.DataFrame(
                {
                    "time": start + 1000.0 * i + np.arange(n),
                    "account": f"{'probe' if probes else 'user'}{i}",
                    "label": 2 if probes else rng.integers(0, 4, n),
                }
                | {f"x{j}": x[:, j] for j in range(5)}
            )
        )
    return pd.concat(parts, ignore_index=True)


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_prober_is_flagged_and_others_are_not(audit: Audit, tmp_path: Path, ending: str) -> None:
    path = write(log(benign=90), tmp_path / f"log.{ending}")
    code, out, err = audit(path, "--detector", "ood", "--detector", "volume")
    assert code == 0 and not err
    assert "Calibrated on all 91 accounts" in out and "7,400 queries of 91 accounts" in out
    others = [line for line in out.splitlines() if line.startswith("user")]
    assert len(others) <= 4 and not any("volume" in line for line in others)
    assert out.endswith(f"{1 + len(others)} of 91 audited accounts flagged.\n")
    rows = [line.split() for line in out.splitlines() if line.startswith("probe90")]
    assert [row[:2] for row in rows] == [["probe90", "ood"], ["probe90", "volume"]]
    assert rows[0][2:4] == ["20", "90019"]
    assert 80 < int(rows[1][2]) < 120  # each benign account asked 80 times
    assert all(float(row[4]) > float(row[5]) for row in rows)
    assert audit(path, "--detector", "volume", "--fail-on-flag")[0] == 1


def test_all_detectors_run_where_the_log_allows(audit: Audit, tmp_path: Path) -> None:
    path = write(log(benign=60, queries=130), tmp_path / "log.csv")
    code, out, _ = audit(path, "--fpr", "0.02")
    assert code == 0
    assert "Skipped" not in out
    flagged = {tuple(line.split()[:2]) for line in out.splitlines() if line.startswith("probe")}
    assert {("probe60", d) for d in ("ood", "concentration", "volume")} <= flagged


def test_nobody_flagged_is_no_failure(audit: Audit, tmp_path: Path) -> None:
    path = write(log(probers=0), tmp_path / "log.csv")
    code, out, _ = audit(path, "--detector", "volume", "--fail-on-flag")
    assert code == 0
    assert out.endswith("0 of 60 audited accounts flagged.\n")


def flags(out: str) -> list[list[str]]:
    """Account, detector, query and time of every flag that was printed, volume and the like."""
    lines = out.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("account ")), len(lines))
    return [line.split()[:4] for line in lines[start + 1 : -1]]


def test_order_columns_and_dates_do_not_matter(audit: Audit, tmp_path: Path) -> None:
    plain = log()
    chosen = ("--detector", "ood", "--detector", "volume")
    wanted = flags(audit(write(plain, tmp_path / "log.csv"), *chosen)[1])
    assert ["probe60", "ood", "20", "60019"] in wanted
    shuffled = plain.sample(frac=1.0, random_state=1)[plain.columns[::-1]]
    assert flags(audit(write(shuffled, tmp_path / "log.csv"), *chosen)[1]) == wanted
    dated = plain.assign(time=pd.Timestamp("2024-02-01") + pd.to_timedelta(plain["time"], "s"))
    dated["time"] = dated["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    _, out, _ = audit(write(dated, tmp_path / "log.csv"), "--detector", "ood")
    assert "2024-02-01T16:40:19Z" in out
    named = plain.rename(columns={f"x{j}": f"income{j}" for j in range(5)})
    assert flags(audit(write(named, tmp_path / "log.csv"), *chosen)[1]) == wanted


def test_answers_may_be_labels_words_or_scores(audit: Audit, tmp_path: Path) -> None:
    plain = log()[["time", "account", "label"]]
    chosen = ("--detector", "concentration")
    wanted = flags(audit(write(plain, tmp_path / "log.csv"), *chosen)[1])
    assert wanted == [["probe60", "concentration", "50", "60049"]]
    words = plain.assign(label="class " + plain["label"].astype(str))
    assert flags(audit(write(words, tmp_path / "log.csv"), *chosen)[1]) == wanted
    hot = pd.DataFrame(np.eye(4)[plain["label"]], columns=[f"score{j}" for j in range(4)])
    scored = pd.concat([plain.drop(columns="label"), hot], axis=1)
    assert flags(audit(write(scored, tmp_path / "log.csv"), *chosen)[1]) == wanted
    scored[hot.columns] *= 100
    code, out, _ = audit(write(scored, tmp_path / "log.csv"), *chosen)
    assert flags(out) == wanted and "scores are percentages" in out
    scored[hot.columns] -= 7
    code, out, _ = audit(write(scored, tmp_path / "log.csv"), *chosen)
    assert flags(out) == wanted and "row 1 sums to 72" in out
    two = plain.drop(columns="label").assign(score=(plain["label"] >= 2) * 0.8)
    assert flags(audit(write(two, tmp_path / "log.csv"), *chosen)[1])[0][0] == "probe60"
    code, _, err = audit(write(two.assign(score=80.0), tmp_path / "log.csv"), *chosen)
    assert code == 2 and "row 1 has the score 80" in err


def test_benign_accounts_may_come_from_another_log(audit: Audit, tmp_path: Path) -> None:
    known = write(log(probers=0), tmp_path / "known.csv")
    path = write(log(benign=1), tmp_path / "log.parquet")
    code, out, _ = audit(path, "--benign", known, "--detector", "ood")
    assert code == 0
    assert f"Calibrated on 60 accounts of '{known}'." in out
    assert "promise no rate below 0.024" in out  # 20 of 60 say what is ordinary
    assert out.endswith("1 of 2 audited accounts flagged.\n") and "spans" not in out
    long = log(benign=1).assign(time=lambda f: f["time"] * 1000)
    _, out, _ = audit(write(long, path), "--benign", known, "--detector", "ood")
    assert "spans 13.9 days" in out


def test_the_trail_of_an_exposure_is_a_log(audit: Audit, tmp_path: Path) -> None:
    gate = Gateway()
    gate.serve(torch.randn(90, 3), lambda x: torch.tensor([[0.1, 0.9]]).expand(len(x), 2))
    (tmp_path / "trail.parquet").write_bytes(parquet(gate.trail.columns()))
    known = write(log(probers=0)[["time", "account", "label"]], tmp_path / "known.csv")
    code, out, _ = audit(tmp_path / "trail.parquet", "--benign", known)
    assert code == 0
    for name in ("prada", "stateful", "ood"):
        assert f"Skipped {name}: '{tmp_path / 'trail.parquet'}' has no columns of records" in out
    assert "0        concentration  50" in out
    assert "0        volume         81" in out


def test_json_is_the_whole_audit(audit: Audit, tmp_path: Path) -> None:
    path = write(log(), tmp_path / "log.csv")
    code, out, err = audit(path, "--detector", "volume", "--json", "--fail-on-flag")
    assert code == 1 and not err
    result = json.loads(out)
    assert result["audit"] == 1 and result["flagged"] == ["probe60"] and result["benign"] is None
    assert result["queries"] == 5000 and result["audited"] == 61 and not result["dated"]
    (flag,) = result["flags"]
    assert flag["detector"] == "volume" and flag["queries"] == 200 and flag["first"] == "60000"
    assert [part["detector"] for part in result["detectors"]] == ["volume"]


def test_standard_input_needs_a_format(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = log(benign=30)[["time", "account"]].rename(columns={"account": "user"})
    for form in ("csv", "jsonl", "parquet"):
        data = write(plain, tmp_path / f"log.{form}").read_bytes()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        code, out, _ = audit("-", "--format", form, "--map", "account=user")
        assert code == 0 and flags(out)[0][:2] == ["probe30", "volume"]
        assert "standard input: 2,600 queries" in out
    assert "give --format" in audit("-")[2]


def test_a_name_cannot_steer_the_terminal(audit: Audit, tmp_path: Path) -> None:
    plain = log(benign=30)[["time", "account"]]
    plain["account"] = plain["account"].replace("probe30", "\x1b[31mprobe" + "e" * 200)
    _, out, _ = audit(write(plain, tmp_path / "log.jsonl"))
    assert "\x1b" not in out and "\\x1b[31mprobe" in out
    table = out[out.index("account ") :]
    assert all(len(line) <= 100 for line in table.splitlines())


def test_refused_queries_are_counted_but_not_read(audit: Audit, tmp_path: Path) -> None:
    plain = log()[["time", "account", "label"]]
    cut = plain.assign(label=plain["label"].where(plain["account"] != "probe60", -1))
    _, out, _ = audit(write(cut, tmp_path / "log.csv"))
    assert "probe60  volume " in out and "probe60  concentration" not in out


def test_accounts_keep_their_zeros(audit: Audit, tmp_path: Path) -> None:
    plain = log().assign(account=lambda f: f["account"].str.replace(r"\D+", "00", regex=True))
    for ending in ("csv", "jsonl"):
        _, out, _ = audit(write(plain, tmp_path / f"log.{ending}"), "--detector", "volume")
        assert "\n0060 " in out


def broken(**changes: object) -> pd.DataFrame:
    return log(benign=40).assign(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frame", "words", "message"),
    [
        (log().drop(columns="account"), (), "has no column 'account'"),
        (log().rename(columns={"time": "tme"}), (), "no column 'time'.*Did you mean 'tme'"),
        (log().iloc[:0], (), "holds no query"),
        (log(benign=18), (), "has 19 accounts to calibrate on; at least 20"),
        (broken(time="soon"), (), "row 1 has the time 'soon'"),
        (broken(account=None), (), "row 1 has no account"),
        (broken(x3=np.nan), (), "column 'x3' holds something that is no finite number"),
        (log(), ("--detector", "radar"), "There is no detector 'radar'"),
        (log(), ("--fpr", "0"), "--fpr is 0"),
        (log(), ("fpr=0.1",), "reads no overrides, and 'fpr=0.1' is one"),
        (log(), ("--time-unit", "h"), "--time-unit is 'h'"),
        (log(), ("--format", "syslog"), "There is no format 'syslog'"),
        (log(), ("--map", "account"), "--map is 'account'; give ROLE=NAME"),
        (log(), ("--map", "account=usr"), "has no column 'usr'"),
        (log(), ("--map", "lable=x0"), "--map lable=.* names no part .* Did you mean 'label'"),
        (log(), ("--path", "/v1"), "--path is for access logs"),
        (log(), ("--benign", "nowhere.csv"), "There is no log 'nowhere.csv'"),
        (log()[["time", "account"]], ("--detector", "prada"), "'prada' cannot run: .* no answers"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_two(
    audit: Audit, tmp_path: Path, frame: pd.DataFrame, words: tuple[str, ...], message: str
) -> None:
    import re

    code, out, err = audit(write(frame, tmp_path / "log.csv"), *words)
    assert code == 2, out
    assert re.search(message, err), err
    assert err.startswith("invbench: ") and err.count("\n") == 1


@pytest.mark.parametrize("name", ["log.txt", "log.csv", "log.parquet", "log.jsonl"])
def test_what_is_no_log_is_refused(audit: Audit, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"" if name.endswith("csv") else b"\xff\x00{]")
    code, _, err = audit(tmp_path / name)
    assert code == 2
    assert err.startswith("invbench: ") and err.count("\n") == 1


def test_an_incident_is_recorded_where_somebody_is_flagged(audit: Audit, tmp_path: Path) -> None:
    path, folder = write(log(), tmp_path / "log.csv"), tmp_path / "incident"
    words = (path, "--detector", "volume", "--incident", folder, "tracking=none")
    code, out, err = audit(*words, "--aware", "2026-03-01T09:00:00+01:00", "--json")
    assert code == 0 and "Incident incident-20260301-" in err
    told = json.loads((folder / "incident.json").read_text(encoding="utf-8"))
    assert [a["account"] for a in told["accounts"]] == json.loads(out)["flagged"]
    assert told["duties"][0]["deadline"] == "2026-03-04T09:00:00+01:00"
    assert "Not estimated" in (folder / "incident.md").read_text(encoding="utf-8")
    quiet = write(log(probers=0), tmp_path / "quiet.csv")
    other = tmp_path / "none"
    assert audit(quiet, "--detector", "volume", "--incident", other, "tracking=none")[0] == 0
    assert not other.exists(), "nobody flagged, nothing recorded"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "m.yaml"), "add --incident DIR"),
        (("--incident", "x", "--aware", "noon"), "--aware is 'noon'"),
        (("--incident", "x", "--evidence", "p", "tracking=none"), "--model"),
        (("--incident", "x", "--model", "m", "tracking=none"), "tracking=none"),
        (("--incident", "x", "--model", "m.yaml", "tracking=none"), "m.yaml"),
    ],
)
def test_mistakes_of_incidents(
    audit: Audit, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    path = write(log(), tmp_path / "log.csv")
    code, _, err = audit(path, "--detector", "volume", *words)
    assert code == 2 and message in err
