"""The command line: one verb a file."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from bench import __version__
from bench.cli.words import tell_faults
from bench.contract.errors import UserError

_VERBS = {
    "run": "Run a suite: train, attack, record, publish the boards",
    "plan": "Show what a run would do, without doing it",
    "status": "Show what runs have done and how far they are",
    "ls": "List datasets, models, defenses, attacks or suites",
    "show": "Show one trial",
    "why": "Say why a trial would run again",
    "doctor": "Hold every file of the store against its digest",
    "reproduce": "Run one recorded trial again and compare",
    "report": "Write the boards from the store or from MLflow",
    "compare": "Say what moved between two results",
    "submit": "Pack results into one file that others can verify",
    "verify": "Check a pack and run a sample of its trials again",
    "sync": "Upload to MLflow what it lacks",
    "recommend": "Recommend a defense for a deployment, by the evidence",
    "gate": "Let a model pass, or not, and write its privacy impact assessment",
    "inventory": "List the registered models, their evidence and its expiry",
    "audit": "Look for accounts that probe in a log of queries",
    "data": "List, fetch and verify data sets",
    "check": "Check that a component keeps its contract",
    "ui": "Start the MLflow UI on this machine",
}


class _Verbs(click.Group):
    """Loads a verb's module only when it is used, so that help and completion are quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            from bench.contract.errors import nearest

            raise UserError(f"There is no verb '{cmd_name}'.{nearest(cmd_name, _VERBS)}")
        module = importlib.import_module(f"bench.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(_VERBS.items()))


_HELP = """Inversion Bench compares defenses against model inversion.

\b
Start here:
  invbench run                            the default suite, no data needed
  invbench run suite=smoke 'defense=[none,dp_sgd]' defense.dp_sgd.epsilon=3 seeds=5
  invbench plan suite=sectors data_root=DIR   what a run would do, and for how long
  invbench ls defenses                    what can be compared

Words after a verb are Hydra overrides: key=value, +key=value, ~key. The settings are: suite, seeds,
backend, data_root, store, report_dir, tracking.uri (tracking=none switches it off);
conf/config.yaml explains them all.

\b
Tab completion: eval "$(_INVBENCH_COMPLETE=bash_source invbench)"   (zsh_source, fish_source)
"""


@click.group(cls=_Verbs, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="invbench")
def cli() -> None:
    """Inversion Bench."""


def main() -> Any:
    """Entry point: a user's mistake is one sentence and exit code 2."""
    # A user's own package may lie where the command is given, as with `python -m`.
    sys.path.append(str(Path.cwd()))
    try:
        try:
            return cli(prog_name="invbench", standalone_mode=False)
        finally:
            tell_faults()
    except UserError as error:
        click.echo(f"invbench: {error}", err=True)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("invbench: stopped; what is recorded is kept.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(2)
