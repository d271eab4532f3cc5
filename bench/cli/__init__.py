"""The command line: one verb a file."""

from __future__ import annotations

import codecs
import importlib
import importlib.util
import io
import logging
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from bench import __version__
from bench.contract.errors import UserError, nearest
from bench.contract.secrets import redacted
from bench.engine.logs import Redacting

_FAULTS_SHOWN = 5
_SIMPLER = {"\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{MULTIPLICATION SIGN}": "x"}
_SIMPLER |= {"\N{LESS-THAN OR EQUAL TO}": "<=", "\N{GREATER-THAN OR EQUAL TO}": ">="}
_SIMPLER |= {"\N{RIGHTWARDS ARROW}": "->", "\N{HORIZONTAL ELLIPSIS}": "...", "\N{BULLET}": "-"}
_VERBS = {
    "run": "Run a suite: train, attack, record, publish the boards",
    "tune": "Search the options of one attack or defense on the selection seeds",
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
    "redteam": "Attack a model that you have, and say what to put in front of it",
    "recommend": "Recommend a defense for a deployment, by the evidence",
    "gate": "Let a model pass, or not, and write its privacy impact assessment",
    "inventory": "List the registered models, their evidence and its expiry",
    "cluster": "Start, join or stop a cluster that a token guards",
    "slurm": "Write a batch file for Slurm that runs a suite on its nodes",
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
  invbench run suite=smoke 'defense=[none,dp_sgd]' defense.dp_sgd.epsilon=3 seeds=5 label=mine
  invbench plan suite=sectors data_root=DIR   what a run would do, and for how long
  invbench ls defenses                    what can be compared

Words after a verb are names and Hydra overrides (key=value, +key=value, ~key), in any order. The
settings are: suite, label, seeds, budgets, backend, data_root, store, report_dir, tracking.uri
(tracking=none switches it off); conf/config.yaml explains them all. Python does the same by
bench.api.

\b
Tab completion: eval "$(_INVBENCH_COMPLETE=bash_source invbench)"   (zsh_source, fish_source)
"""


@click.group(cls=_Verbs, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="invbench")
def cli() -> None:
    """Inversion Bench."""


def speak(verbosity: int) -> None:
    """Print what the program logs: warnings; with 1 what goes on, with 2 everything."""
    logger = logging.getLogger("bench")
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    handler = logging.StreamHandler()
    handler.setFormatter(Redacting("%(message)s"))
    handler.setLevel(level)
    logger.handlers = [handler]
    logger.setLevel(min(level, logging.INFO))  # a run's log file holds what goes on


def main() -> Any:
    """Entry point: a user's mistake is one sentence and exit code 2."""
    codecs.register_error("invbench", _simpler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="invbench")
    # A user's own package may lie where the command is given, as with `python -m`.
    sys.path.append(str(Path.cwd()))
    sys.excepthook = _crashed
    try:
        _refuse_strangers()
        speak(0)
        try:
            return cli(prog_name="invbench", standalone_mode=False)
        finally:
            _tell_faults()
    except UserError as error:
        click.echo(f"invbench: {error}", err=True)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.NoSuchOption as error:
        error.show()
        if error.option_name in ("-m", "--multirun"):
            click.echo(
                "A grid is a list here, and needs no -m: 'defense=[none,dp_sgd]', or "
                "'defense.dp_sgd.sweep={epsilon:[1,8]}' for several settings of one option.",
                err=True,
            )
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("invbench: stopped; what is recorded is kept.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(2)


def _simpler(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that a terminal or a log file in latin-1 or ASCII lacks."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_SIMPLER.get(character, "?") for character in lacking), error.end


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what Python prints of an error that nobody expected, without credentials."""
    text = "".join(traceback.format_exception(kind, error, trace))
    click.echo(redacted(text), err=True, nl=False)


def _refuse_strangers() -> None:
    """Refuse packages that are called as ours and shadow them.

    Raises:
        UserError: names the folder.
    """
    home = Path(__file__).resolve().parents[2]
    for name in ("attacks", "defenses"):
        spec = importlib.util.find_spec(name)
        places = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
        if home / name not in [place.resolve() for place in places]:
            raise UserError(
                f"A package '{name}' that is not this program's is found first, at "
                f"{places[0] if places else 'no folder'}; rename it, or run invbench elsewhere."
            )


def _tell_faults() -> None:
    """Say which files of a store were left out because they are damaged."""
    store = sys.modules.get("bench.engine.store")
    faults: dict[Path, str] = store.FAULTS if store is not None else {}
    for path, reason in list(faults.items())[:_FAULTS_SHOWN]:
        click.echo(f"Left out: {path}: {reason}.", err=True)
    if faults:
        click.echo(
            f"{len(faults)} damaged things were left out; 'invbench run' makes again what it needs "
            "of them, 'invbench doctor' looks at the whole store.",
            err=True,
        )
    faults.clear()
