"""The command line: one verb a file."""

from __future__ import annotations

import codecs
import importlib
import importlib.util
import io
import logging
import os
import select
import sys
import traceback
from pathlib import Path
from types import TracebackType

import click
from click.shell_completion import CompletionItem

from bench import __version__
from bench.cli.usage import Verbs, sentence
from bench.contract.errors import UserError
from bench.contract.secrets import redacted
from bench.engine.logs import Redacting

_FAULTS_SHOWN = 5
_BY_SIGPIPE = 141
"""How programs end whose reader has gone: 0 would say that a gate lets pass, 1 that it does not."""
_SIMPLER = {"\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{MULTIPLICATION SIGN}": "x"}
_SIMPLER |= {"\N{LESS-THAN OR EQUAL TO}": "<=", "\N{GREATER-THAN OR EQUAL TO}": ">="}
_SIMPLER |= {"\N{RIGHTWARDS ARROW}": "->", "\N{HORIZONTAL ELLIPSIS}": "...", "\N{BULLET}": "-"}
_PURPOSES = {
    "Look": {
        "ls": "List datasets, models, defenses, attacks or suites",
        "data": "List, fetch and verify data sets",
        "report": "Write the boards from the store, from packs or from MLflow",
        "show": "Show one trial",
        "compare": "Say what moved between two results",
    },
    "Run": {
        "plan": "Show what a run would do, without doing it",
        "run": "Run a suite: train, attack, record, publish the boards",
        "status": "Show what runs have done and how far they are",
        "tune": "Search the options of one attack or defense",
        "cluster": "Start, join or stop a cluster that a token guards",
        "slurm": "Write a batch file for Slurm that runs a suite on its nodes",
    },
    "Decide": {
        "recommend": "Recommend a defense for a deployment, by the evidence",
        "redteam": "Attack a model that you have, and say what to put before it",
        "gate": "Let a model pass or not, and write its impact assessment",
        "inventory": "List the registered models, their evidence and its expiry",
        "audit": "Look for accounts that probe in a log of queries",
    },
    "Exchange": {
        "submit": "Pack results into one file that others can verify",
        "verify": "Check a pack and run a sample of its trials again",
        "reproduce": "Run one recorded trial again and compare",
        "sync": "Upload to MLflow what it lacks",
    },
    "Upkeep": {
        "check": "Check that a component keeps its contract",
        "why": "Say why a trial would run again",
        "doctor": "Hold every file of the store against its digest",
        "ui": "Start the MLflow UI on this machine",
        "completion": "Print the line that lets the shell complete words",
    },
}
_VERBS = {verb: text for verbs in _PURPOSES.values() for verb, text in verbs.items()}
_COMPLETION = "_INVBENCH_COMPLETE"


class _Program(Verbs):
    """Loads a verb's module only when it is used, so that help and completion are quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"bench.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for purpose, verbs in _PURPOSES.items():
            with formatter.section(purpose):
                formatter.write_dl([(verb.ljust(10), text) for verb, text in verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        verbs = [
            CompletionItem(verb, help=text)
            for verb, text in _VERBS.items()
            if verb.startswith(incomplete)
        ]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]


_HELP = """Inversion Bench compares defenses against model inversion.

\b
Start here:
  invbench                            what is here, and what to do next
  invbench run suite=smoke            three embedded data sets, in minutes
  invbench ls defenses                what can be compared
  invbench recommend PACK --access scores --tier T2
  invbench run suite=smoke 'defense=[none,dp_sgd]' seeds=5 label=mine

Words after a verb are names and Hydra overrides (key=value, +key=value, ~key), in any order. The
settings are: suite, label, seeds, budgets, backend, data_root, store, report_dir, tracking.uri
(tracking=none switches it off); conf/config.yaml explains them all. Python does the same by
bench.api. Verbs that read print one JSON document with --json. 'invbench completion' says how the
tab key completes words.
"""


@click.group(
    cls=_Program,
    help=_HELP,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="invbench")
@click.pass_context
def cli(context: click.Context) -> None:
    """Inversion Bench."""
    if context.invoked_subcommand is None:
        from bench.cli.greeting import greet

        greet()


def speak(verbosity: int) -> None:
    """Print what the program logs: warnings; with 1 what goes on, with 2 everything."""
    logger = logging.getLogger("bench")
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    handler = logging.StreamHandler()
    handler.setFormatter(Redacting("%(message)s"))
    handler.setLevel(level)
    logger.handlers = [handler]
    logger.setLevel(min(level, logging.INFO))  # a run's log file holds what goes on


def main() -> None:
    """Entry point: a user's mistake is one sentence and exit code 2."""
    codecs.register_error("invbench", _simpler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="invbench")
    # A user's own package may lie where the command is given, as with `python -m`.
    sys.path.append(str(Path.cwd()))
    sys.excepthook = _crashed
    try:
        code = _answer()
    except BrokenPipeError:
        if not _unread():
            raise
        code = _BY_SIGPIPE
    if code:
        sys.exit(code)


def _answer() -> int:
    """Do what the words say, or tell what is wrong with them; the exit code."""
    try:
        _refuse_strangers()
        speak(0)
        try:
            _obey()
        finally:
            _tell_faults()
    except UserError as error:
        click.echo(f"invbench: {error}", err=True)
        return 2
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        click.echo(sentence(error), err=True)
        return error.exit_code
    except (KeyboardInterrupt, EOFError, click.Abort):
        click.echo("\ninvbench: stopped; what is recorded is kept.", err=True)
        return 130
    return 0


def _obey() -> None:
    """Do what the words say. Click's own entry would end with 1 where nobody reads on."""
    instruction = os.environ.get(_COMPLETION)
    if instruction:
        from bench.cli.completing import complete_words

        sys.exit(complete_words(cli, _COMPLETION, instruction))
    with cli.make_context("invbench", sys.argv[1:]) as context:
        cli.invoke(context)


def _unread() -> bool:
    """Whether what is printed has no reader any more, as behind ``| head``; then be quiet."""
    unread = False
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        if poll.poll(0):
            unread = True
            # Python flushes once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return unread


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
