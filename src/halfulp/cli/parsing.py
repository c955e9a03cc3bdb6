"""What all commands share in reading their arguments: negative numbers, lists of names, options."""

from __future__ import annotations

import re

import click

from halfulp.language import LANGUAGES, use
from halfulp.rounding import DECISIONS

_NEGATIVE = re.compile(r"-(\d|\.\d|inf(inity)?\b|nan\b|∞)", re.IGNORECASE)
MINUS = "−"  # what the option parser does not take for the start of an option


class NumberCommand(click.Command):
    """A command whose arguments may be negative numbers, which parsers take for options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Hide the sign of negative arguments from the option parser."""
        takes_value = {
            name
            for p in self.params
            for name in p.opts
            if isinstance(p, click.Option) and not p.is_flag
        }
        shielded = [
            MINUS + arg[1:] if _NEGATIVE.match(arg) and before not in takes_value else arg
            for before, arg in zip(["", *args], args, strict=False)
        ]
        rest = super().parse_args(ctx, shielded)
        for name, value in ctx.params.items():
            if isinstance(value, str) and value.startswith(MINUS):
                ctx.params[name] = "-" + value[1:]
        return rest


def _speak(context: click.Context, _option: click.Parameter, language: str | None) -> None:
    if language is not None:
        context.find_root().with_resource(use(language))  # until the command line is done


def speaking(command: click.Command) -> click.Command:
    """The command with the option --lang, which all commands and their group take."""
    if all(option.name != "lang" for option in command.params):
        command.params.append(
            click.Option(
                ["--lang"], type=click.Choice(LANGUAGES), expose_value=False, callback=_speak,
                help="Explain in this language; by default the environment's (LANG).",
            )
        )  # fmt: skip
    return command


def names(text: str | None) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
html = click.option("--html", metavar="FILE", help="Also write a self-contained HTML page.")
rounding = click.option(
    "--rounding", default="nearest_even", metavar="NAME", show_default=True,
    help=f"One of {', '.join(name for name in DECISIONS if name != 'stochastic')}.",
)  # fmt: skip
overflow = click.option(
    "--overflow", metavar="NAME",
    help="infinity, nan, saturate, saturate_finite, or a profile such as torch.",
)  # fmt: skip
