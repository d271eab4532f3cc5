"""Machines to break: network, process, mount and host name space each, on one bridge.

Whoever is root gets real ones: switching one off kills all of it at once, and its line can be cut.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
INVBENCH = "from bench.cli import main; main()"
PORT = 6379
_BOOTS_IN_S = 20
_INIT = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
"""The first process of a machine: it does nothing but bury orphans."""


def becoming_root() -> list[str]:
    """Words before a command that make its user root of a namespace; none where that is no use."""
    words = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    if sys.platform != "linux" or os.geteuid() == 0 or shutil.which("unshare") is None:
        return []
    allowed = subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    return words if allowed else []


def lacking() -> str | None:
    """What keeps this machine from making others, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces need Linux, and root or user namespaces"
    if missing := [tool for tool in ("ip", "unshare", "nsenter") if shutil.which(tool) is None]:
        return f"these programs are missing: {', '.join(missing)}"
    trial = subprocess.run(
        ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "true"],
        capture_output=True,
        check=False,
    )
    return None if trial.returncode == 0 else "this machine may not make namespaces"


def call(*words: str) -> None:
    """Run a program that has to succeed."""
    subprocess.run(words, check=True, capture_output=True, text=True)


# ---------------------------------------------------------------- processes
def children(pid: int) -> list[int]:
    """Children of a process."""
    with contextlib.suppress(OSError):
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def descendants(pid: int) -> Iterator[int]:
    """Children of a process, theirs, and so on."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def words_of(pid: int) -> list[str]:
    """Command line of a process; empty once it has ended."""
    with contextlib.suppress(OSError):
        return [w for w in Path(f"/proc/{pid}/cmdline").read_text().split("\0") if w]
    return []


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def heeds(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


# ---------------------------------------------------------------- machines
class Machine:
    """A machine of its own address, processes, mounts and name.

    Args:
        name: its host name; also that of its line.
        lab: where it stands.
        number: last number of its address.
    """

    def __init__(self, name: str, lab: Lab, number: int) -> None:
        self.name, self.lab, self.number = name, lab, number
        self.address = f"{lab.subnet}.{number}"
        self.folder = lab.folder / name
        self.hidden: Path | None = None
        """A folder that this machine does not see, once it is booted again."""
        self.replaced: Mapping[Path, Path] = {}
        """Files that look otherwise on this machine, once it is booted again."""
        self.variables: Mapping[str, str] = {}
        """Of the environment of its Ray processes, once it is booted again."""
        self.cpus = 2
        self._holder: subprocess.Popen[bytes] | None = None
        self._first = 0
        self._line = f"{lab.bridge}m{number}"

    def boot(self) -> None:
        """Switch it on."""
        assert self._holder is None
        for part in ("ray", "home"):
            shutil.rmtree(self.folder / part, ignore_errors=True)
            (self.folder / part).mkdir(parents=True)
        spaces = ["--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
        self._holder = subprocess.Popen(
            ["unshare", *spaces, "--propagation", "slave", "bash", "-c", _INIT],
            start_new_session=True,
        )
        until = time.monotonic() + _BOOTS_IN_S
        while not children(self._holder.pid) and time.monotonic() < until:
            time.sleep(0.02)
        self._first = children(self._holder.pid)[0]
        while not Path(f"/proc/{self._first}/root/proc/1").exists():
            time.sleep(0.02)
        other = f"{self._line}x"
        call("ip", "link", "add", self._line, "type", "veth", "peer", "name", other)
        call("ip", "link", "set", self._line, "master", self.lab.bridge, "up")
        call("ip", "link", "set", other, "netns", str(self._first), "name", "eth0")
        Path("/tmp/ray").mkdir(exist_ok=True)
        self.call("mount", "--bind", str(self.folder / "ray"), "/tmp/ray")
        self.call("hostname", self.name)
        self.call("ip", "link", "set", "lo", "up")
        self.call("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self.call("ip", "link", "set", "eth0", "up")
        if self.hidden is not None:
            self.call("mount", "-t", "tmpfs", "-o", "size=64m", "hidden", str(self.hidden))
        for place, other_file in self.replaced.items():
            self.call("mount", "--bind", str(other_file), str(place))

    def switch_off(self) -> None:
        """Kill everything on it at once, as where the power goes or a machine is preempted."""
        if self._holder is not None:
            send(self._first, signal.SIGKILL)
            self._holder.kill()
            self._holder.wait()
            subprocess.run(["ip", "link", "del", self._line], capture_output=True, check=False)
        self._holder, self._first = None, 0

    def cut(self, off: bool = True) -> None:
        """Cut its line, or mend it."""
        call("ip", "link", "set", self._line, "down" if off else "up")

    # ------------------------------------------------------------ programs
    def _inside(self, words: Sequence[str]) -> list[str]:
        return [
            "nsenter",
            "-t",
            str(self._first),
            "-m",
            "-n",
            "-u",
            "-p",
            f"--wd={ROOT}",
            "--",
            *words,
        ]

    def call(self, *words: str) -> None:
        """Run a program on it that has to succeed."""
        call(*self._inside(words))

    def start(
        self, words: Sequence[str], log: Path, more: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start ``invbench`` on it."""
        return self.program([sys.executable, "-W", "ignore", "-c", INVBENCH, *words], log, more)

    def program(
        self, words: Sequence[str], log: Path, more: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program on it."""
        with log.open("ab") as file:
            return subprocess.Popen(
                self._inside(words),
                env=self.environment() | dict(more or {}),
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def environment(self) -> dict[str, str]:
        """Variables of programs that run on it."""
        ours = ("PATH", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
        return {
            **{name: os.environ[name] for name in ours if name in os.environ},
            **self.lab.variables,
            "HOME": str(self.folder / "home"),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def processes(self) -> list[int]:
        """All that runs on it, its first process apart; numbers as the outer machine counts."""
        if not self._first:
            return []
        with contextlib.suppress(OSError):
            space = str(Path(f"/proc/{self._first}/ns/pid").readlink())
            return [pid for pid in _pids() if pid != self._first and _space(pid) == space]
        return []

    def raylets(self) -> list[int]:
        """Its raylet."""
        return [p for p in self.processes() if _program(p) == "raylet"]

    def gcs(self) -> list[int]:
        """The head's server of facts."""
        return [p for p in self.processes() if _program(p) == "gcs_server"]

    def workers(self) -> list[int]:
        """Ray's workers, actors included; those at work where there are any."""
        titles = {p: " ".join(words_of(p)) for p in self.processes()}
        ours = [p for p, title in titles.items() if re.match(r"ray::(?!\w*Agent)", title)]
        busy = [p for p in ours if "IDLE" not in titles[p]]
        return busy or ours

    def supervised(self) -> list[int]:
        """Processes that Ray's workers have started themselves."""
        ours = set(self.workers())
        return [c for p in ours for c in descendants(p) if c not in ours]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _space(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def _program(pid: int) -> str:
    words = words_of(pid)  # empty where it has ended since
    return Path(words[0]).name if words else ""


# ---------------------------------------------------------------- the lab
class Lab:
    """Machines on one bridge, the first of them the head of a Ray cluster.

    Args:
        folder: scratch; short, for Ray's sockets lie below ``/tmp/ray`` of every machine.
        count: how many machines.
        variables: of the environment of everything that runs on them.
    """

    def __init__(self, folder: Path, count: int, variables: Mapping[str, str]) -> None:
        self.folder, self.variables = folder, dict(variables)
        number = os.getpid() % 60_000
        self.bridge = f"iv{number}"
        self.subnet = f"10.{200 + number // 250 % 50}.{number % 250}"
        self.outside = f"{self.subnet}.254"
        """Address of the machine that all of this runs on."""
        call("ip", "link", "add", self.bridge, "type", "bridge")
        call("ip", "addr", "add", f"{self.outside}/24", "dev", self.bridge)
        call("ip", "link", "set", self.bridge, "up")
        self.machines = [Machine(f"node{i}", self, i + 1) for i in range(count)]
        for machine in self.machines:
            machine.boot()

    @property
    def head(self) -> Machine:
        """Where the cluster's head and the driver run."""
        return self.machines[0]

    @property
    def address(self) -> str:
        """Of the cluster."""
        return f"{self.head.address}:{PORT}"

    def up(self) -> None:
        """Start the cluster, and join what there is."""
        self._ray(self.head, "start", "--interface", self.head.address)
        for machine in self.machines[1:]:
            self.join(machine)

    def join(self, machine: Machine) -> None:
        """Let a machine join the cluster."""
        self._ray(machine, "join", self.address, "--token-file", str(self.token))

    @property
    def token(self) -> Path:
        """File of the token that the cluster asks for."""
        return self.head.folder / "home" / ".ray" / "auth_token"

    def _ray(self, machine: Machine, *words: str) -> None:
        log = self.folder / "cluster.log"
        offered = ["--num-cpus", str(machine.cpus), "--num-gpus", "0"]
        started = machine.start(["cluster", *words, *offered], log, machine.variables)
        if code := started.wait(timeout=180):
            raise RuntimeError(f"{machine.name}: cluster {words[0]} ended with {code}; see {log}")

    def mend(self) -> list[str]:
        """Start again what no longer runs, as a queue or an autoscaler would.

        Returns:
            What was started again.
        """
        if not self.head.gcs() or not self.head.raylets():
            for machine in self.machines[1:]:
                machine.switch_off()
            self.head.start(["cluster", "stop"], self.folder / "cluster.log").wait(timeout=60)
            for machine in self.machines[1:]:
                machine.boot()
            self.up()
            return ["the cluster"]
        mended = []
        for machine in self.machines[1:]:
            if not machine.raylets():
                machine.switch_off()
                machine.boot()
                self.join(machine)
                mended.append(machine.name)
        return mended

    def down(self) -> None:
        """Switch everything off."""
        for machine in reversed(self.machines):
            machine.switch_off()
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)
