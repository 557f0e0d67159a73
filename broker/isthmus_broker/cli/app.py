"""The commands and their help; what they do is in the modules beside this one.

Imports are late where they are slow, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from isthmus_broker import __version__
from isthmus_broker.errors import ConfigurationError, IsthmusError

DEFAULT_URL = "http://127.0.0.1:18083"

app = typer.Typer(
    name="isthmus-broker",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="An MQTT broker that links itself with other broker clusters.",
    epilog="""
[bold]First steps[/bold]

[cyan]isthmus-broker run[/cyan]  a broker on 127.0.0.1:1883, no configuration needed

[cyan]isthmus-broker check us-east.conf[/cyan]  every mistake in a configuration, with its line

[cyan]isthmus-broker run --config us-east.conf[/cyan]  a broker with its links; changes of the file
are taken up while it runs

[cyan]isthmus-broker links --watch[/cyan]  what the links are doing
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
    epilog="""
[bold]Examples[/bold]

[cyan]isthmus-broker run[/cyan]  on loopback, anybody on this machine may connect

[cyan]isthmus-broker run --config /etc/isthmus/broker.conf[/cyan]

The file is HOCON in EMQX's vocabulary; docs/configuration.md explains each key. A changed file is
taken up by itself; SIGTERM and Ctrl-C end the broker cleanly.
"""
)
def run(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Configuration; without it, loopback."),
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
    epilog="""
[bold]Examples[/bold]

[cyan]isthmus-broker check us-east.conf eu-west.conf[/cyan]

[cyan]isthmus-broker check --strict *.conf[/cyan]  warnings count as mistakes, for pipelines
"""
)
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Configurations.")],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as mistakes.")] = False,
) -> None:
    """Tell every mistake in configurations, with key, line and what was expected."""
    from isthmus_broker.cli.check import check_file

    found = 0
    for file in files:
        report = check_file(file, os.environ)
        for line in (*report.mistakes, *(f"warning: {it}" for it in report.warnings)):
            typer.echo(line)
        found += len(report.mistakes) + (len(report.warnings) if strict else 0)
        if not report.mistakes:
            typer.echo(f"{file}: {report.summary}")
    if found:
        typer.echo(f"{_count(found, 'mistake')}, nothing started")
        raise typer.Exit(1)


@app.command(
    epilog="""
[bold]Examples[/bold]

[cyan]isthmus-broker links[/cyan]  the broker on this machine

[cyan]isthmus-broker links --watch[/cyan]  again each second, until Ctrl-C

[cyan]isthmus-broker links --url http://broker.example.net:18083 --key-file key --json[/cyan]
"""
)
def links(
    url: Annotated[
        str, typer.Option(envvar="ISTHMUS_URL", help="Of the broker's admin API.")
    ] = DEFAULT_URL,
    key: Annotated[
        str | None,
        typer.Option(envvar="ISTHMUS_API_KEY", help="API key; better in the environment."),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File that holds the API key.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON as the API gives it.")] = False,
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
        typer.echo(f"{url}: {error}", err=True)
        raise typer.Exit(1) from error


@app.command(
    epilog="""
[bold]Examples[/bold]

[cyan]isthmus-broker passwd users alice[/cyan]  asks for the password

[cyan]printf %s "$PASSWORD" | isthmus-broker passwd users alice --stdin[/cyan]

[cyan]isthmus-broker passwd users alice --delete[/cyan]

A running broker takes the change up by itself. In its configuration:
[cyan]authentication = \\[{mechanism = password_based, backend = file, file = "users"}][/cyan]
"""
)
def passwd(
    file: Annotated[Path, typer.Argument(help="Password file; made if it does not exist.")],
    user: Annotated[str, typer.Argument(help="User name.")],
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
        typer.echo(f"{file}: {error}", err=True)
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
        typer.echo(str(mistake), err=True)
    typer.echo(f"{_count(len(error.mistakes), 'mistake')}, nothing started", err=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
