"""Mistakes in the words of a command, in the voice of all other mistakes."""

from __future__ import annotations

import difflib
import re

import click

from bench.contract.errors import UserError, nearest


class Verbs(click.Group):
    """A group of verbs that names the nearest one where there is none of that name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that the first word names.

        Raises:
            UserError: there is none.
        """
        name, verbs = args[0], self.list_commands(ctx)
        if name not in verbs and not name.startswith("-") and not ctx.resilient_parsing:
            path = " ".join([*ctx.command_path.split()[1:], name])
            raise UserError(f"There is no verb '{path}'.{nearest(name, verbs)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every verb with its whole sentence; Click would cut it off."""
        verbs = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Verbs"):
            formatter.write_dl(
                [(name, verb.get_short_help_str(1000)) for name, verb in verbs.items() if verb]
            )


def sentence(error: click.ClickException) -> str:
    """What is wrong with the words of a command, and where to read what is right."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if type(error).__name__ == "NoArgsIsHelpError":  # of Click 8.2 and later
        return error.format_message()
    text = f"invbench: {' '.join(error.format_message().split())}"
    if context is None:
        return text
    path = context.command_path
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        text = f"invbench: '{path}' has no option '{name}'.{_near(name, context)}"
    elif isinstance(error, click.BadParameter) and error.param is not None:
        text += _near_choice(text, error.param)
    end = "" if text.endswith(("?", ".")) else "."
    return f"{text}{end} '{path} --help' shows what it takes."


_GRID = (
    " A grid is a list here, and needs no -m: 'defense=[none,dp_sgd]', or "
    "'defense.dp_sgd.sweep={epsilon:[1,8]}' for several settings of one option."
)


def _near_choice(text: str, parameter: click.Parameter) -> str:
    given = re.search(r": '(.*?)' is not one of", text)
    if given is None or not isinstance(parameter.type, click.Choice):
        return ""
    close = difflib.get_close_matches(given[1], map(str, parameter.type.choices), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def _near(name: str, context: click.Context) -> str:
    if name in ("-m", "--multirun"):  # what it is for in Hydra
        return _GRID
    options = [
        option
        for parameter in context.command.get_params(context)
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-")
    ]
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
