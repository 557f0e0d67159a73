"""The command isthmus-operator."""

from __future__ import annotations

import asyncio

import typer

from isthmus_operator import __version__, logs, operate, uninstall
from isthmus_operator.errors import OperatorError
from isthmus_operator.settings import load

app = typer.Typer(
    name="isthmus-operator",
    help="Operator of MQTT broker clusters and of the links between them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def run() -> None:
    """Look after BrokerClusters and ClusterLinks until stopped.

    Settings are environment variables: ISTHMUS_NAMESPACES (comma-separated; empty: all),
    ISTHMUS_BROKER_IMAGE, ISTHMUS_LEASE_NAMESPACE and ISTHMUS_LEASE_NAME (empty: no others),
    ISTHMUS_POD_NAME, ISTHMUS_LOG_LEVEL (debug, info, warning, error), ISTHMUS_LOG_FORMAT (json,
    text), ISTHMUS_HEALTH_PORT (0: none); KUBECONFIG outside of a pod.
    """
    try:
        settings = load()
        logs.configure(settings.log_level, settings.log_format)
        status = asyncio.run(operate.operate(settings))
    except (OperatorError, OSError) as error:
        typer.echo(f"isthmus-operator: {error}", err=True)
        raise typer.Exit(2) from error
    raise typer.Exit(status)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


app.command("release-finalizers")(uninstall.release_finalizers)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
