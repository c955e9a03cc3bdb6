"""The ``halfulp`` command: finds the command asked for, runs it, and turns errors into a sentence.

A command's module is imported only when it is the one asked for (or for ``--help``), so that
``halfulp explain`` starts as fast as its parser.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from halfulp import __version__
from halfulp.cli.parsing import speaking
from halfulp.errors import HalfulpError, unknown
from halfulp.language import from_environment, use
from halfulp.language import translate as _

# command -> its module in this package, in the order of the help
COMMANDS = {
    "explain": "explain",
    "add": "operation",
    "multiply": "operation",
    "bits": "bits",
    "digits": "digits",
    "walk": "walk",
    "formats": "formats",
    "compare": "compare",
    "lint": "lint",
    "memory": "memory",
    "scale": "scale",
    "watch": "watch",
    "report": "report",
    "lab": "lab",
    "demo": "demo",
}


class LazyGroup(click.Group):
    """The group of all commands, each imported when it is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the table, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, imported now."""
        if cmd_name not in COMMANDS:
            raise unknown(_("command"), cmd_name, COMMANDS)
        module = import_module(f"halfulp.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return speaking(command)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="halfulp %(version)s")
def halfulp() -> None:
    """See, predict and fix what low precision does to training."""


speaking(halfulp)


def main() -> None:
    """Run the command line and exit: 0 done, 1 a check failed, 2 wrong use or bad input."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without → gets ? instead of nothing
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; its exit status."""
    with use(from_environment(os.environ)):
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        status: Any = halfulp.main(
            arguments or ["--help"], prog_name="halfulp", standalone_mode=False
        )
        print(end="", flush=True)
        return status if isinstance(status, int) else 0
    except HalfulpError as error:
        return _fail(str(error))
    except click.ClickException as error:
        return _fail(_sentence(error))
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted")
    except BrokenPipeError:
        _abandon_output()
        return 0
    except OSError as error:
        _abandon_output()
        return _fail(f"cannot write the output: {error.strerror or error}")


def _abandon_output() -> None:
    """What is left in the buffer has nowhere to go; Python's flush at exit would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _sentence(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    where = f" ({context.command_path} --help lists what is allowed)" if context else ""
    return error.format_message().rstrip(".") + where


def _fail(message: str) -> int:
    print(f"halfulp: {' '.join(message.split())}", file=sys.stderr)
    return 2
