"""The commands and their help; what they do is in the modules beside this one.

Imports are late where they are slow, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from isthmus_broker import __version__
from isthmus_broker.errors import ConfigurationError, IsthmusError

DEFAULT_URL = "http://127.0.0.1:18083"

app = typer.Typer(
    name="isthmus-broker",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help fits a small terminal, and has less to read
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="An MQTT broker that links itself with other broker clusters.",
    epilog="""\b
First steps:
  isthmus-broker run                        a broker on 127.0.0.1:1883
  isthmus-broker check us-east.conf         every mistake, with its line
  isthmus-broker run --config us-east.conf  a broker with its links
  isthmus-broker links --watch              what the links are doing
""",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"isthmus-broker {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


@app.command(
    epilog="""\b
Examples:
  isthmus-broker run        on loopback: anybody on this machine may connect
  isthmus-broker run --config /etc/isthmus/isthmus.conf

The file is HOCON in EMQX's vocabulary; docs/configuration.md explains each key. A changed file is
taken up while the broker runs. SIGTERM and Ctrl-C end it cleanly.
"""
)
def run(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="Configuration; without it, on loopback."
        ),
    ] = None,
) -> None:
    """Run the broker."""
    from isthmus_broker.server import run as serve

    try:
        serve(config)
    except ConfigurationError as error:
        _tell(error)
        raise typer.Exit(1) from error
    except IsthmusError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


@app.command(
    epilog="""\b
Examples:
  isthmus-broker check us-east.conf eu-west.conf
  isthmus-broker check --strict *.conf        for pipelines

Nothing is started. Exits with 1 where there is a mistake.
"""
)
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Configurations.")],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as mistakes.")] = False,
) -> None:
    """Tell every mistake in configurations, each with its line."""
    from isthmus_broker.cli.check import check_file

    found = 0
    for file in files:
        report = check_file(file, os.environ)
        for line in (*report.mistakes, *(f"warning: {it}" for it in report.warnings)):
            _say(line)
        found += len(report.mistakes) + (len(report.warnings) if strict else 0)
        if not report.mistakes:
            _say(f"{file}: {report.summary}")
    if found:
        typer.echo(f"{_count(found, 'mistake')}, nothing started")
        raise typer.Exit(1)


@app.command(
    epilog="""\b
Examples:
  isthmus-broker links             the broker on this machine
  isthmus-broker links --watch     until Ctrl-C
  isthmus-broker links --url http://us-east.example.net:18083 --key-file key

docs/linking.md says what states and reasons mean, and what to do.
"""
)
def links(
    url: Annotated[
        str, typer.Option(metavar="URL", envvar="ISTHMUS_URL", help="The broker's admin API.")
    ] = DEFAULT_URL,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", envvar="ISTHMUS_API_KEY", help="Better in the environment."),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File that holds the API key.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show them again each second.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, as the API gives it.")] = False,
) -> None:
    """Show the links of a running broker: state, routes, rate, lag."""
    from isthmus_broker.cli.links import Api, show, watch_links

    try:
        if key_file is not None:
            key = key_file.read_text(encoding="utf-8").strip()
        api = Api(url, key)
        if watch:
            watch_links(api)
        else:
            show(api, as_json=as_json)
    except (OSError, ValueError) as error:
        typer.echo(_blame(error, url), err=True)
        if isinstance(error, ConnectionError):
            typer.echo("Is the broker up, and is that its api.bind? --url names another.", err=True)
        raise typer.Exit(1) from error


@app.command(
    epilog="""\b
Examples:
  isthmus-broker passwd users alice             asks for the password
  isthmus-broker passwd users alice --stdin < password
  isthmus-broker passwd users alice --delete

\b
The configuration names the file; a running broker takes changes of it up:
  authentication = [{ mechanism = password_based, file = "users" }]
"""
)
def passwd(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Password file; made if it does not exist.")
    ],
    user: Annotated[str, typer.Argument(metavar="USER", help="User name.")],
    stdin: Annotated[bool, typer.Option("--stdin", help="Password from standard input.")] = False,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Password from a file.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the user.")] = False,
) -> None:
    """Add or change a user in a password file."""
    from isthmus_broker.cli.passwd import change

    try:
        password = None if delete else _password(stdin, password_file)
        typer.echo(f"{file}: {change(file, user, password)}")
    except ConfigurationError as error:
        _tell(error)
        raise typer.Exit(1) from error
    except (OSError, ValueError, IsthmusError) as error:
        typer.echo(_blame(error, str(file)), err=True)
        raise typer.Exit(1) from error


def _password(stdin: bool, file: Path | None) -> bytes:
    if file is not None:
        return file.read_bytes().rstrip(b"\r\n")
    if stdin:
        return sys.stdin.buffer.read().rstrip(b"\r\n")
    asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return asked.encode()


def _tell(error: ConfigurationError) -> None:
    for mistake in error.mistakes:
        _say(str(mistake), err=True)
    typer.echo(f"{_count(len(error.mistakes), 'mistake')}, nothing started", err=True)


def _blame(error: Exception, where: str) -> str:
    """What went wrong and with what: the file of a system error, or else `where`."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or where}: {error.strerror}"
    return f"{where}: {error}"


def _say(line: str, *, err: bool = False) -> None:
    """Print a line; where a terminal is too narrow for it, broken at words."""
    if (sys.stderr if err else sys.stdout).isatty():
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(
            line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
    typer.echo(line, err=err)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
