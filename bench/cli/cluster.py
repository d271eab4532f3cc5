"""``invbench cluster``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench.cli.usage import Verbs
from bench.engine import cluster, membership

_HELP = """Start, join or stop a Ray cluster that a token guards.

\b
  invbench cluster start                              nobody but this machine reaches it
  invbench cluster start --interface eth0             other machines do as well
  invbench cluster join HEAD:6379 --token-file TOKEN  on each of them
  invbench run backend.address=HEAD:6379              on any machine of the cluster
  invbench cluster stop                               on each machine, when all is done

With --block, start and join go on until Ray ends or they are asked to stop (SIGTERM, Ctrl-C), and
then leave the cluster: what a batch system or a container wants.
"""


@click.group("cluster", cls=Verbs, help=_HELP)
def command() -> None:
    """Group of the verbs below."""


def _shared(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--block", is_flag=True, help="Go on until Ray ends or is to stop."),
        click.option("--num-gpus", type=click.IntRange(0), help="GPUs to offer; all by default."),
        click.option("--num-cpus", type=click.IntRange(0), help="CPUs to offer; all by default."),
        click.option(
            "--token-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="File of the token, readable by you alone; ~/.ray/auth_token by default.",
        ),
    ):
        function = option(function)
    return function


@command.command("start")
@click.option(
    "--interface",
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="Network interface of this machine, or its address, at which others reach the cluster.",
)
@click.option("--towards", metavar="HOST", help="Take the address from which HOST is reached.")
@click.option("--port", type=click.IntRange(1, 65535), default=cluster.PORT, show_default=True)
@click.option(
    "--jobs",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Start Ray's job server as well, for 'ray job submit' on this machine (extra 'jobs').",
)
@_shared
def start(
    interface: str,
    towards: str | None,
    port: int,
    jobs: int | None,
    token_file: Path | None,
    num_cpus: int | None,
    num_gpus: int | None,
    block: bool,
) -> None:
    """Start a cluster on this machine; without options nobody else reaches it.

    The token is made if the file is not there. Ray's dashboard stays off unless jobs need it.
    """
    address = cluster.route(towards) if towards else cluster.own_address(interface)
    token = token_file or cluster.default_token()
    membership.start(address, port, token, num_cpus, num_gpus, jobs)
    click.echo(f"A cluster runs at {address}:{port}; '{token}' holds its token.")
    named = "" if token_file is None else f"RAY_AUTH_TOKEN_PATH='{token.resolve()}' "
    if cluster.loopback(address):
        click.echo("Only this machine reaches it.")
    else:
        click.echo(
            f"Copy the token to every machine that joins (chmod 600), and there: invbench cluster "
            f"join {address}:{port} --token-file TOKEN\n"
            "Ray listens on all addresses of this machine and encrypts nothing: let a firewall "
            "keep the port range to the machines of the cluster."
        )
    click.echo(f"Use it:  {named}invbench run backend.address={address}:{port}")
    click.echo("Stop it: invbench cluster stop")
    _stay(f"{address}:{port}", block)


@command.command("join")
@click.argument("head", metavar="HOST:PORT")
@click.option(
    "--interface",
    "--address",
    default="",
    help="Interface or address of this machine; by default the one from which the head is reached.",
)
@_shared
def join(
    head: str,
    interface: str,
    token_file: Path | None,
    num_cpus: int | None,
    num_gpus: int | None,
    block: bool,
) -> None:
    """Add this machine to the cluster that 'invbench cluster start' made at HOST:PORT."""
    route = cluster.towards(*cluster.split(head))
    address = cluster.own_address(interface) if interface else route
    membership.join(head, address, token_file or cluster.default_token(), num_cpus, num_gpus)
    click.echo(f"{address} has joined the cluster at {head}.")
    _stay(head, block)


def _stay(address: str, block: bool) -> None:
    if block and not membership.stay(address):
        click.echo(f"Ray has ended on this machine; it has left {address}.", err=True)
        sys.exit(1)


@command.command("stop")
@click.argument("address", metavar="[HOST:PORT]", required=False)
def stop(address: str | None) -> None:
    """End what 'cluster start' and 'join' have started on this machine, and nothing else.

    With HOST:PORT only what belongs to that cluster.
    """
    left = membership.stop(address)
    click.echo(f"Stopped: {', '.join(left)}." if left else "Nothing of a cluster runs here.")
