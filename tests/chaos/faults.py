"""What can go wrong. Each fault hits once, and may have to be undone after a while."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.lab import Machine, send

if TYPE_CHECKING:
    from tests.chaos.round import Round

Undo = tuple[float, Callable[[], None]]
"""Seconds after which, and how, a fault is undone."""


@dataclass(frozen=True)
class Fault:
    """One kind of trouble.

    Attributes:
        name: in the table.
        hit: does it; what has to be undone, or None; False where there was nothing to hit.
        hits: most times in a round.
        pause_s: least seconds between two.
        special: what the round is prepared with: ``small_disk``, ``clock``, ``mlflow``, ``two``,
            ``skew``, ``blind``, ``empty_head``.
    """

    name: str
    hit: Callable[[Round, random.Random], Undo | bool]
    hits: int = 3
    pause_s: float = 3.0
    special: str = ""


def _one(options: list[int], draw: random.Random, number: signal.Signals) -> bool:
    if options:
        send(draw.choice(options), number)
    return bool(options)


def _all(round_: Round, part: Callable[[Machine], list[int]]) -> list[int]:
    return [pid for machine in round_.lab.machines for pid in part(machine)]


def kill_driver(round_: Round, draw: random.Random) -> bool:
    """SIGKILL of the driver."""
    round_.driver.kill()
    return True


def stop_driver(round_: Round, draw: random.Random) -> bool:
    """SIGTERM of the driver: it must end within ten seconds."""
    round_.driver.ask()
    return True


def freeze_driver(round_: Round, draw: random.Random) -> Undo | bool:
    """SIGSTOP of the driver for a while."""
    # Whoever has entered the machine for it stops with it, and has to be woken up as well.
    return _frozen(round_.driver.pids, draw, 5, 12)


def kill_worker(round_: Round, draw: random.Random) -> bool:
    """SIGKILL of one of Ray's workers."""
    return _one(_all(round_, Machine.workers), draw, signal.SIGKILL)


def stop_worker(round_: Round, draw: random.Random) -> bool:
    """SIGTERM of one of Ray's workers."""
    return _one(_all(round_, Machine.workers), draw, signal.SIGTERM)


def kill_child(round_: Round, draw: random.Random) -> bool:
    """SIGKILL of a process that a worker has started, or of a worker where there is none."""
    inner = _all(round_, Machine.supervised)
    return _one(inner or _all(round_, Machine.workers), draw, signal.SIGKILL)


def freeze_worker(round_: Round, draw: random.Random) -> Undo | bool:
    """SIGSTOP of a worker and what it started."""
    return _frozen(_all(round_, Machine.workers)[:2], draw, 5, 15)


def kill_raylet(round_: Round, draw: random.Random) -> bool:
    """SIGKILL of the raylet of a machine that is not the head."""
    joined = [pid for machine in round_.lab.machines[1:] for pid in machine.raylets()]
    return _one(joined, draw, signal.SIGKILL)


def freeze_raylet(round_: Round, draw: random.Random) -> Undo | bool:
    """SIGSTOP of the raylet of a machine that is not the head."""
    joined = [pid for machine in round_.lab.machines[1:] for pid in machine.raylets()]
    return _frozen(joined[:1], draw, 5, 20)


def _frozen(pids: list[int], draw: random.Random, least: float, most: float) -> Undo | bool:
    if not pids:
        return False
    for pid in pids:
        send(pid, signal.SIGSTOP)

    def thaw() -> None:
        for pid in pids:
            send(pid, signal.SIGCONT)

    return draw.uniform(least, most), thaw


def kill_gcs(round_: Round, draw: random.Random) -> bool:
    """SIGKILL of the head's server of facts: the cluster is gone, and is started again."""
    return _one(round_.lab.head.gcs(), draw, signal.SIGKILL)


def preempt(round_: Round, draw: random.Random) -> bool:
    """A machine is taken away with no warning, and a new one joins."""
    draw.choice(round_.lab.machines[1:]).switch_off()
    return True


def cut_short(round_: Round, draw: random.Random) -> Undo:
    """The line of a machine is cut for a few seconds."""
    return _cut(round_, draw, draw.uniform(2, 6))


def cut_long(round_: Round, draw: random.Random) -> Undo:
    """The line of a machine is cut for longer than Ray waits for it."""
    return _cut(round_, draw, draw.uniform(40, 60))


def _cut(round_: Round, draw: random.Random, seconds: float) -> Undo:
    machine = draw.choice(round_.lab.machines[1:])
    machine.cut()
    return seconds, lambda: machine.cut(off=False)


def fill_disk(round_: Round, draw: random.Random) -> Undo:
    """The disk of the store is filled to the last byte for a while."""
    filler = round_.store / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(65536)):
            pass
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(b"0"):
            pass
    return draw.uniform(3, 8), lambda: filler.unlink(missing_ok=True)


def jump_clock(round_: Round, draw: random.Random) -> bool:
    """The clock of the driver and of a machine jumps by up to ten years, ahead or back."""
    round_.clock.write_text(str(86400 * draw.choice([-3650, -1, 1, 30, 3650])))
    return True


def flip_bits(round_: Round, draw: random.Random) -> bool:
    """Bits of a file of the store turn over, wherever they stand, while it is in use."""
    files = [p for p in sorted(round_.store.rglob("*")) if p.is_file() and p.suffix != ".log"]
    files = [p for p in files if not p.name.endswith(("-wal", "-shm")) and p.stat().st_size]
    if not files:
        return False
    path = draw.choice(files)
    with path.open("r+b", buffering=0) as file:
        for _ in range(draw.randint(1, 8)):
            place = draw.randrange(path.stat().st_size)
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 1 << draw.randrange(8)]))
    return True


def kill_mlflow(round_: Round, draw: random.Random) -> Undo:
    """The MLflow server is gone for a while."""
    assert round_.services is not None
    round_.services.server.kill()
    return draw.uniform(2, 8), round_.services.server.start


def kill_postgres(round_: Round, draw: random.Random) -> Undo:
    """The database behind MLflow is gone for a while."""
    assert round_.services is not None
    round_.services.database.kill()
    return draw.uniform(2, 8), round_.services.database.start


def nothing(round_: Round, draw: random.Random) -> bool:
    """How the round was prepared is the fault."""
    return True


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("driver killed", kill_driver),
        Fault("driver asked to stop", stop_driver),
        Fault("driver frozen", freeze_driver, 2),
        Fault("worker killed", kill_worker, 5, 2),
        Fault("worker asked to stop", stop_worker, 4, 2),
        Fault("worker's child killed", kill_child, 5, 2),
        Fault("worker frozen", freeze_worker),
        Fault("raylet killed", kill_raylet, 2, 10),
        Fault("raylet frozen", freeze_raylet, 2),
        Fault("GCS killed", kill_gcs, 1, 30),
        Fault("machine preempted", preempt, 4, 15),
        Fault("machine preempted, head without CPUs", preempt, 3, 15, "empty_head"),
        Fault("line cut for seconds", cut_short, 3, 5),
        Fault("line cut for a minute", cut_long, 1, 60),
        Fault("disk full", fill_disk, 3, 5, "small_disk"),
        Fault("clock jumps", jump_clock, 4, 2, "clock"),
        Fault("bits flipped in the store", flip_bits, 6, 2),
        Fault("MLflow down", kill_mlflow, 3, 4, "mlflow"),
        Fault("PostgreSQL down", kill_postgres, 2, 4, "mlflow"),
        Fault("two drivers", nothing, 1, 1, "two"),
        Fault("two drivers, one killed", kill_driver, 3, 3, "two"),
        Fault("code of one machine differs", nothing, 1, 1, "skew"),
        Fault("store not seen by one machine", nothing, 1, 1, "blind"),
    )
}
MIXED = (
    *("driver killed", "driver asked to stop", "worker killed", "worker's child killed"),
    *("worker frozen", "raylet killed", "machine preempted", "line cut for seconds"),
)
"""Of these several hit in one round."""


def changed(source: Path, target: Path) -> Path:
    """Write the code of an attack with another result: what a worker must not run."""
    text = source.read_text()
    before = "return guess"
    assert before in text
    after = "return Reconstruction(guess.values.flip(1), guess.info)"
    target.write_text(text.replace(before, after))
    return target
