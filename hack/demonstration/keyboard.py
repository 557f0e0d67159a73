"""Single key presses of a terminal, without Enter and without echo; Ctrl-C stays a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from types import TracebackType
from typing import Self

END = "q"
"""What the end of the input stands for."""
_ESCAPE = b"\x1b"


class Keyboard:
    """`async for key in keyboard`, within `with`; the terminal is as it was afterwards."""

    def __init__(self) -> None:
        self._file = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._file)
        self._pressed: asyncio.Queue[str] = asyncio.Queue()

    def __enter__(self) -> Self:
        self._take_over()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._file, self._read)
        loop.add_signal_handler(signal.SIGCONT, self._take_over)  # after Ctrl-Z
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGCONT)
        loop.remove_reader(self._file)
        termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        return await self._pressed.get()

    def _take_over(self) -> None:
        tty.setcbreak(self._file)

    def _read(self) -> None:
        pressed = os.read(self._file, 64)
        if not pressed:
            self._pressed.put_nowait(END)
            asyncio.get_running_loop().remove_reader(self._file)
        elif not pressed.startswith(_ESCAPE):  # arrows and the like
            for key in pressed.decode("ascii", "ignore"):
                self._pressed.put_nowait(key.lower())
