"""`python -m isthmus_broker` and the command `isthmus-broker`."""

from __future__ import annotations

from isthmus_broker.cli.app import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
