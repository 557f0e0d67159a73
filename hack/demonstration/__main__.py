"""`python -m demonstration [--check] [--port-offset N]`: what `hack/demo` ends with.

Without a terminal it does as with `--check`: every chapter once, a line for each step. Exits with 0
where everything was seen, 1 where not, 2 where the ports asked for are taken.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from demonstration import ports, view
from demonstration.clients import Message
from demonstration.live import Heard, Show
from demonstration.sides import Side
from demonstration.story import Story
from demonstration.view import Step
from demonstration.waiting import NotSeen

_CHECKED_OUTAGE: Final = 3.0
"""Seconds."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Demo:
    """One run."""

    def __init__(self, directory: Path, offset: int, console: Console) -> None:
        self._console = console
        self._directory = directory
        self._offset = offset
        self._heard = Heard()
        self._story = Story(directory, offset, self.tell, self._hear)
        self._stopped_by = 0
        self._opened = False

    async def run(self, *, check: bool) -> int:
        """Run it; returns the exit code."""
        begun = time.monotonic()
        showing = asyncio.create_task(self._check() if check else self._show())
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._stop, number, showing)
        try:
            await showing
        except NotSeen as error:
            self._failed(error)
            return 1
        except asyncio.CancelledError:
            if check or not self._opened:
                return 128 + self._stopped_by
        finally:
            await self._story.close()
        if check:
            self.tell(Step("all of it was seen, nothing is left running", time.monotonic() - begun))
        else:
            self.tell(Step("ended, nothing is left running"))
        return 0

    def tell(self, step: Step) -> None:
        """Show a step."""
        self._console.print(view.step(step), soft_wrap=True)

    def _stop(self, number: signal.Signals, showing: asyncio.Task[None]) -> None:
        if not self._stopped_by:
            self._stopped_by = number
            showing.cancel()

    async def _check(self) -> None:
        story = self._story
        await story.open()
        await story.turn()
        await story.turn()
        await story.outage(_CHECKED_OUTAGE)

    async def _show(self) -> None:
        await self._story.open()
        self._opened = True
        await Show(self._story, self._heard, self._console, self._hints(), self._failed).run()

    def _hear(self, side: Side, message: Message) -> None:
        self._heard.note(self._story, side, message)

    def _failed(self, error: NotSeen) -> None:
        self.tell(Step(str(error), mark="failed"))
        for side in self._story.sides:
            self._console.print(view.log(side.cluster.name, side.cluster.last_words()))

    def _hints(self) -> list[str]:
        us, eu = (side.cluster for side in self._story.sides)
        return [
            f"mosquitto_sub -p {us.ports.mqtt} -t 'linked/#' -v",
            f"mosquitto_pub -p {eu.ports.mqtt} -t linked/42 -m hello",
            f"{_command()} links --watch"
            + (f" --url http://127.0.0.1:{us.ports.api}" if self._offset else ""),
            f"or edit {self._directory / 'eu-west.conf'}: taken up when saved",
        ]


def _command() -> str:
    """`isthmus-broker` as it can be typed here."""
    command = Path(sys.executable).parent / "isthmus-broker"
    if command.is_relative_to(Path.cwd()):
        command = command.relative_to(Path.cwd())
    return shlex.quote(str(command))


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(add_help=False)  # hack/demo has looked at them, and has help
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--port-offset", type=int)
    arguments = parser.parse_args()
    console = Console(highlight=False)
    try:
        offset, taken = ports.choose(arguments.port_offset, ports.is_free)
    except ports.PortsTaken as error:
        console.print(view.step(Step(str(error), mark="failed")), soft_wrap=True)
        return 2
    if taken:
        note = f"{ports.told(taken)}: all ports are moved by {offset}"
        console.print(view.step(Step(note, mark="note")), soft_wrap=True)
    terminal = console.is_terminal and not console.is_dumb_terminal and sys.stdin.isatty()
    if not (terminal or arguments.check):
        console.print(view.step(Step("no terminal here: as with --check", mark="note")))
    with tempfile.TemporaryDirectory(prefix="isthmus-demo-", ignore_cleanup_errors=True) as made:
        demo = Demo(Path(made), offset, console)
        return asyncio.run(demo.run(check=arguments.check or not terminal))


if __name__ == "__main__":
    sys.exit(main())
