"""Makes docs/demo.svg, what the live view looks like: `python -m demonstration.still FILE`.

From a real run, after some seconds of it.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from demonstration import ports, view
from demonstration.live import Heard
from demonstration.story import PAUSE, Story
from demonstration.view import Screen, Step

_MESSAGES: Final = 12
"""In each direction, before the picture is made."""
_WIDTH: Final = 82
"""Columns: what a terminal of 80 shows, and a margin."""
_FONTS: Final = re.compile(r"\s*@font-face \{\{.*?\}\}", re.DOTALL)
_THEME: Final = TerminalTheme(
    (13, 17, 23),  # background
    (230, 237, 243),
    [
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
)


async def _still(directory: Path, console: Console) -> None:
    heard = Heard()
    offset, _ = ports.choose(None, ports.is_free)

    def tell(step: Step) -> None:
        console.print(view.step(step))

    story = Story(directory, offset, tell, lambda side, it: heard.note(story, side, it))
    try:
        await story.open()
        for _ in range(_MESSAGES):
            for side in story.sides:
                side.greet()
            await asyncio.sleep(PAUSE)
        now = time.monotonic()
        arrivals = [heard.arrival(side, now) for side in story.sides]
        console.print(view.screen(Screen(await story.directions(), arrivals)))
    finally:
        await story.close()


def main() -> None:
    """Make the picture."""
    console = Console(
        record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, highlight=False
    )
    console.print(" [bold]$ ./hack/demo[/bold]")
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(_still(Path(made), console))
    form = _FONTS.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code, ", "")  # nothing is fetched
    svg = console.export_svg(title="", theme=_THEME, code_format=form, unique_id="demo")
    svg = svg.replace("<text ", '<text xml:space="preserve" ')  # not all viewers keep spaces
    Path(sys.argv[1]).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
