"""``invbench slurm``."""

from __future__ import annotations

import os
import re
import shlex
import string
import sys
from pathlib import Path

import click

from bench.cli.words import Given, takes
from bench.contract.errors import UserError, require

_PLAIN = re.compile(r"[A-Za-z0-9_.,:@+\-\[\]]+")
"""What a directive may hold: Slurm reads directives without a shell's quotes."""
_TIME = re.compile(r"\d+(:\d{1,2}){0,2}|\d+-\d+(:\d{1,2}){0,2}")
"""Minutes, minutes:seconds, hours:minutes:seconds, or days-hours with the same."""

_SCRIPT = string.Template(r"""#!/bin/bash
# Written by 'invbench slurm'; hand it in with: sbatch $file
$directives
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --no-kill
#SBATCH --open-mode=append
# Two minutes before the time is up, and when Slurm takes the job away, this script is asked to stop
# (SIGTERM): it stops the run, which keeps what is recorded, and puts the job back into the queue,
# where the same command goes on.
set -uo pipefail
umask 077
cd -- $folder || exit 2

invbench=($program)
overrides=($words)
cpus=$cpus
gpus=$gpus
address_options=($interface)
token=$$HOME/.ray/slurm-$$SLURM_JOB_ID.token
port=$$((20000 + SLURM_JOB_ID % 20000))
export OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} RAY_AUTH_TOKEN_PATH=$$token
unset RAY_AUTH_TOKEN RAY_ADDRESS
mapfile -t nodes < <(scontrol show hostnames "$$SLURM_JOB_NODELIST")

run="" workers="" address="" asked=""
leave() {
    [ -z "$$workers" ] || { kill -TERM "$$workers" 2>/dev/null; wait "$$workers"; }
    [ -z "$$address" ] || "$${invbench[@]}" cluster stop "$$address"
    rm -f -- "$$token"
}
stop() {
    asked=yes
    [ -z "$$run" ] || kill -TERM "$$run" 2>/dev/null
}
trap stop TERM INT
trap leave EXIT

# ---- the head: this node. Of one node alone nobody else reaches it.
if [ "$${#nodes[@]}" -gt 1 ] && [ "$${#address_options[@]}" -eq 0 ]; then
    address_options=(--towards "$${nodes[1]}")
fi
rm -f -- "$$token"
output=$$("$${invbench[@]}" cluster start "$${address_options[@]}" --port "$$port" \
    --token-file "$$token" --num-cpus "$$cpus" --num-gpus "$$gpus") || exit 2
printf '%s\n' "$$output"
[[ $$output =~ [^[:space:]]+:$$port ]] || exit 2
address=$${BASH_REMATCH[0]}

# ---- one worker on every other node; who comes late or is lost does not stop the others.
if [ "$${#nodes[@]}" -gt 1 ]; then
    others=$$(IFS=,; printf '%s' "$${nodes[*]:1}")
    srun --nodes="$$(($${#nodes[@]} - 1))" --ntasks="$$(($${#nodes[@]} - 1))" \
        --ntasks-per-node=1 --cpus-per-task="$$cpus" --nodelist="$$others" \
        --kill-on-bad-exit=0 --wait=0 \
        "$${invbench[@]}" cluster join "$$address" --token-file "$$token" \
        --num-cpus "$$cpus" --num-gpus "$$gpus" --block &
    workers=$$!
fi

# ---- the run. A shell hears a signal only while it waits for a program in the background.
[ -z "$$asked" ] || exit 143
"$${invbench[@]}" run "$${overrides[@]}" "backend.address=$$address" &
run=$$!
wait "$$run"
code=$$?
while kill -0 "$$run" 2>/dev/null; do
    wait "$$run"
    code=$$?
done
if [ -n "$$asked" ]; then
    # A job that its user has cancelled is no longer running, and stays away.
    case "$$(scontrol show job --oneliner "$$SLURM_JOB_ID")" in
        *JobState=RUNNING*) scontrol requeue "$$SLURM_JOB_ID" ;;
    esac
fi
exit "$$code"
""")

_HELP = """Write a batch file for Slurm: a head, a worker on every other node, and the run.

\b
  invbench slurm --nodes 4 --cpus 32 --time 1-00:00:00 -- \\
      suite=sectors data_root=DIR store=DIR
  sbatch invbench.sbatch

What stands after -- is what 'invbench run' takes. The store keeps every result as soon as it is
there: a job that is taken away or out of time goes back into the queue and goes on. The folder of
the command, the home folder and the program must be the same on all nodes; store and data should.
"""


@click.command("slurm", help=_HELP)
@takes()
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True)
@click.option("--cpus", type=click.IntRange(1), required=True, help="CPUs of each node.")
@click.option("--gpus", type=click.IntRange(0), default=0, help="GPUs of each node.")
@click.option("--time", "limit", metavar="[DAYS-]HH:MM:SS", required=True, help="Time limit.")
@click.option("--partition", help="Slurm's partition.")
@click.option("--account", help="Whom Slurm charges.")
@click.option("--interface", help="Network interface of the head that the others reach.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default=Path("invbench.sbatch"),
    show_default=True,
    help="File to write; - for the screen.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(
    given: Given,
    nodes: int,
    cpus: int,
    gpus: int,
    limit: str,
    partition: str | None,
    account: str | None,
    interface: str | None,
    out: Path,
    force: bool,
) -> None:
    """Write a batch file for Slurm."""
    from bench import api

    require(
        bool(_TIME.fullmatch(limit)),
        f"--time {limit} is no time that Slurm reads; write MINUTES, HH:MM:SS or DAYS-HH:MM:SS.",
    )
    if backend := [word for word in given.words if re.match(r"\+*backend(\.address)?=", word)]:
        raise UserError(f"'{backend[0]}': the batch file itself says where Ray runs; leave it out.")
    settings = api.settings(given.words, given.config_dir)  # a mistake is told now, not in a queue
    asked = {
        "job-name": f"invbench-{settings.label}",
        "output": f"invbench-{settings.label}-%j.log",
        "nodes": str(nodes),
        "cpus-per-task": str(cpus),
        "gpus-per-node": str(gpus) if gpus else None,
        "time": limit,
        "partition": partition,
        "account": account,
    }
    text = script(
        {name: value for name, value in asked.items() if value is not None},
        run_words(given),
        cpus,
        gpus,
        interface,
        "invbench.sbatch" if str(out) == "-" else str(out),
    )
    if str(out) == "-":
        click.echo(text, nl=False)
        return
    write(out, text, force)
    click.echo(f"Written: {out}. Hand it in with: sbatch {shlex.quote(str(out))}")


def run_words(given: Given) -> list[str]:
    """What ``invbench run`` is given in the batch file."""
    folder = [] if given.config_dir is None else ["--config-dir", str(given.config_dir.resolve())]
    return [*given.words, *folder]


def script(
    directives: dict[str, str],
    words: list[str],
    cpus: int,
    gpus: int,
    interface: str | None,
    file: str,
) -> str:
    """Text of the batch file.

    Args:
        directives: options of ``sbatch`` by their long name.
        words: what ``invbench run`` is given.
        cpus: of each node.
        gpus: the same.
        interface: of the head; None: the address from which the second node is reached.
        file: what the batch file is called.

    Raises:
        UserError: a directive that Slurm would misread.
    """
    for name, value in directives.items():
        require(
            bool(_PLAIN.fullmatch(value.replace("%j", ""))),
            f"--{name} '{value}' holds something that Slurm does not read; use letters, digits "
            "and any of _.,:@+-[].",
        )
    return _SCRIPT.substitute(
        file=shlex.quote(file),
        directives="\n".join(f"#SBATCH --{name}={value}" for name, value in directives.items()),
        folder=shlex.quote(str(Path.cwd())),
        program=shlex.join(program()),
        words=shlex.join(words),
        cpus=cpus,
        gpus=gpus,
        interface=shlex.join(["--interface", interface] if interface else []),
    )


def program() -> list[str]:
    """How this program is started on another machine with the same folders."""
    beside = Path(sys.executable).with_name("invbench")
    if beside.exists():
        return [str(beside)]
    return [sys.executable, "-c", "from bench.cli import main; main()"]


def write(path: Path, text: str, force: bool) -> None:
    """Write a file that its user alone reads: the words of a run may hold a password.

    Raises:
        UserError: there is one already, or it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError(
            f"'{path}' is there already; name another with --out, or write over it with --force."
        ) from error
    except OSError as error:
        raise UserError(f"'{path}' cannot be written ({error.strerror}); name another.") from error
