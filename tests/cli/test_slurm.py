"""The batch file for Slurm: what it holds, and what it does where Slurm is played by scripts."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli import slurm
from tests.chaos.lab import ROOT, Lab, Machine, descendants, lacking, words_of

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
WORD = 'tracking.uri="http://me:it\'s $(a) secret@host"'
WRITES = ("slurm", "--nodes", "2", "--cpus", "2", "--time", "1:00:00")

_SCONTROL = """#!/bin/bash
echo "scontrol $*" >> {spool}/calls
case "$1 $2" in
    "show hostnames") printf '%s\\n' {nodes} ;;
    "show job") cat {spool}/state ;;
esac
"""
_SRUN = """#!/bin/bash
trap 'touch {spool}/srun_ends; exit 143' TERM
printf '%s\\n' "$@" > {spool}/srun.part; mv {spool}/srun.part {spool}/srun
while :; do sleep 0.1; done
"""
_INVBENCH = """#!/bin/bash
echo "invbench $*" >> {spool}/calls
case "$1 $2" in
    "cluster start")
        while [ "$1" != --port ]; do shift; done
        printf x > "$4"; stat -c %a "$4" >> {spool}/mode
        echo "A cluster runs at 10.0.0.1:$2; '$4' holds its token." ;;
    run*)
        trap 'exit 130' TERM
        touch {spool}/runs
        for _ in $(seq {tenths}); do sleep 0.1; done
        exit 1 ;;
esac
"""


def _play(spool: Path, nodes: str, tenths: int = 1) -> None:
    """Programs that stand for Slurm's and, unless others take their place, for ours."""
    (spool / "bin").mkdir(parents=True)
    (spool / "state").write_text("JobId=7 JobState=RUNNING Reason=None")
    for name, text in (("scontrol", _SCONTROL), ("srun", _SRUN), ("invbench", _INVBENCH)):
        path = spool / "bin" / name
        path.write_text(text.format(spool=spool, nodes=nodes, tenths=tenths))
        path.chmod(0o755)


def _until(true: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it takes too long"
        time.sleep(0.05)


@pytest.fixture
def batch(verb, tmp_path: Path, monkeypatch) -> Callable[..., Path]:
    """Write a batch file whose ``invbench`` is a script; its path."""
    monkeypatch.chdir(tmp_path)

    def make(*words: str) -> Path:
        monkeypatch.setattr(slurm, "program", lambda: [str(tmp_path / "spool/bin/invbench")])
        assert verb(*WRITES, "--", "suite=smoke", *words)[0] == 0
        return tmp_path / "invbench.sbatch"

    return make


@pytest.fixture
def started(batch, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Run the batch file as Slurm does."""

    def start(nodes: str, tenths: int = 1) -> subprocess.Popen[bytes]:
        spool = tmp_path / "spool"
        _play(spool, nodes, tenths)
        environment = {
            "PATH": f"{spool / 'bin'}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "some",
        }
        (tmp_path / ".ray").mkdir()
        return subprocess.Popen(["bash", str(batch())], env=environment, cwd=tmp_path)

    return start


def test_it_is_bash_and_asks_slurm_for_what_was_said(batch, tmp_path: Path) -> None:
    path = batch("defense=[none, dp_sgd]", WORD)
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH ")]
    for asked in ("nodes=2", "cpus-per-task=2", "time=1:00:00", "requeue", "signal=B:TERM@120"):
        assert f"#SBATCH --{asked}" in directives
    assert not any("gpus" in line for line in directives)
    # The words come through the shell as they were given.
    quoted = text.split("overrides=(")[1].split(")\n")[0]
    assert shlex.split(quoted)[-2:] == ["defense=[none, dp_sgd]", WORD]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_kept_until_asked(batch, verb) -> None:
    path = batch()
    path.write_text("mine")
    code, _, err = verb(*WRITES, "--", "suite=smoke")
    assert code == 2 and "--force" in err and path.read_text() == "mine"
    assert verb(*WRITES, "--force", "--", "suite=smoke")[0] == 0
    assert "sbatch" in path.read_text()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((*WRITES[:-1], "soon"), "soon"),
        ((*WRITES, "--partition", "a b"), "--partition"),
        ((*WRITES, "--account", "x\n#SBATCH --uid=0"), "--account"),
        ((*WRITES, "--", "suite=nothing_of_ours"), "nothing_of_ours"),
        ((*WRITES, "--", "backend=local"), "backend=local"),
        ((*WRITES, "--", "backend.address=auto"), "backend.address"),
    ],
)
def test_mistakes_are_told_before_they_stand_in_a_queue(
    words, named, verb, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = verb(*words)
    assert code == 2 and named in err
    assert not list(tmp_path.iterdir())


def test_a_run_that_ends_ends_the_job_and_leaves_nothing(started, tmp_path: Path) -> None:
    job = started("10.0.0.1 10.0.0.2 10.0.0.3")
    assert job.wait(timeout=30) == 1  # that of the run
    spool = tmp_path / "spool"
    calls = (spool / "calls").read_text()
    assert "--towards 10.0.0.2" in calls
    assert "run suite=smoke backend.address=10.0.0.1:20007" in calls
    assert "cluster stop 10.0.0.1:20007" in calls and "requeue" not in calls
    srun = (spool / "srun").read_text().split("\n")
    assert {"--nodes=2", "--ntasks=2", "--nodelist=10.0.0.2,10.0.0.3", "--block"} <= set(srun)
    assert (spool / "srun_ends").exists()
    assert (spool / "mode").read_text().strip() == "600"
    assert not list((tmp_path / ".ray").iterdir())


@pytest.mark.parametrize(("state", "again"), [("RUNNING", True), ("CANCELLED", False)])
def test_a_job_that_is_taken_away_goes_back_into_the_queue(
    state, again, started, tmp_path: Path
) -> None:
    job = started("10.0.0.1", tenths=300)
    spool = tmp_path / "spool"
    (spool / "state").write_text(f"JobId=7 JobState={state} Reason=None")
    _until((spool / "runs").exists, 20)
    job.send_signal(signal.SIGTERM)  # to the script alone, as --signal=B: says
    assert job.wait(timeout=20) == 130
    calls = (spool / "calls").read_text()
    assert ("scontrol requeue 7" in calls) is again
    assert "cluster stop" in calls and "--towards" not in calls and not (spool / "srun").exists()


# ---------------------------------------------------------------- with Ray on two machines
def _srun(spool: Path, machine: Machine, ends: threading.Event) -> None:
    """Start on another machine what ``srun`` was given, and end it with it."""
    while not (spool / "srun").exists():
        if ends.wait(0.1):
            return
    words = (spool / "srun").read_text().split("\n")[:-1]
    joined = machine.start(words[words.index("cluster") :], spool / "worker.log")
    while not (spool / "srun_ends").exists() and not ends.wait(0.1):
        pass
    for pid in descendants(joined.pid):
        if "join" in words_of(pid):
            os.kill(pid, signal.SIGTERM)
    joined.wait(timeout=60)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(lacking() is not None, reason=f"two machines are needed: {lacking()}")
def test_a_run_on_two_machines_that_is_stopped_and_handed_in_again(
    verb, tmp_path_factory, monkeypatch
) -> None:
    folder = tmp_path_factory.mktemp("slurm")
    spool = folder / "spool"
    monkeypatch.chdir(folder)
    conf = str(ROOT / "tests" / "conf")
    words = ["suite=toy", "seeds=1", "attack=[toy_slow]", "defense=[none]", "tracking=none"]
    words += [f"store={folder}/store", f"report_dir={folder}/report", "progress=none"]
    words += ["attack.toy_slow.sweep={number:[0,1,2,3,4,5]}", "+attack.toy_slow.sleep_s=1"]
    assert verb(*WRITES, "--config-dir", conf, "--", *words)[0] == 0
    lab = Lab(folder, 2, {})
    ends = threading.Event()
    try:
        _play(spool, " ".join(machine.address for machine in lab.machines))
        (spool / "bin" / "invbench").unlink()
        lab.head.environment = _with_slurm(lab.head.environment(), spool)  # type: ignore[method-assign]
        worker = threading.Thread(target=_srun, args=(spool, lab.machines[1], ends))
        worker.start()
        job = lab.head.program(["bash", str(folder / "invbench.sbatch")], folder / "job.log")
        store = folder / "store"
        _until(lambda: any(store.rglob("*")) and bool(lab.machines[1].workers()), 200)
        for pid in descendants(job.pid):
            if words_of(pid)[:1] == ["bash"] and words_of(pid)[-1].endswith(".sbatch"):
                os.kill(pid, signal.SIGTERM)
                break
        assert job.wait(timeout=60) == 130, (folder / "job.log").read_text()
        assert "requeue 7" in (spool / "calls").read_text()
        worker.join(timeout=60)
        assert not lab.head.raylets() and not lab.machines[1].raylets()
        for name in ("srun", "srun_ends"):
            (spool / name).unlink(missing_ok=True)
        worker = threading.Thread(target=_srun, args=(spool, lab.machines[1], ends))
        worker.start()
        job = lab.head.program(["bash", str(folder / "invbench.sbatch")], folder / "job.log")
        assert job.wait(timeout=300) == 0, (folder / "job.log").read_text()
        worker.join(timeout=60)
        assert "7 of 7 trials done" in (folder / "job.log").read_text()
    finally:
        ends.set()
        lab.down()


def _with_slurm(environment: dict[str, str], spool: Path) -> Callable[[], dict[str, str]]:
    more = {
        "PATH": f"{spool / 'bin'}:{environment['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "some",
    }
    return lambda: environment | more
