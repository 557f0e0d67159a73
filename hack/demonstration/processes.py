"""Child processes that never outlive the demo, whatever becomes of it.

They have sessions of their own: Ctrl-C reaches the demo alone, which then ends them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_END: Final = 10.0
"""Seconds that a process has to end by itself."""
_LINE: Final = 4 << 20
"""Bytes of a line that can be read from it: more than any message has."""
_SET_PDEATHSIG: Final = 1  # of prctl(2)
_libc: Final = ctypes.CDLL(None)


async def spawn(
    command: Sequence[str], log: Path, *, stdin: int = DEVNULL, stdout: int | None = None
) -> Process:
    """Start a program; what it says goes to the end of `log`."""
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=stdin,
            stdout=file if stdout is None else stdout,
            stderr=file,
            cwd=log.parent,
            start_new_session=True,
            limit=_LINE,
            preexec_fn=_end_with_parent,
        )


async def end(process: Process, number: signal.Signals = signal.SIGTERM) -> None:
    """End a process, and kill it where it does not; harmless where it has ended."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        async with asyncio.timeout(_END):  # wait_for of Python 3.11 may swallow a cancellation
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _end_with_parent() -> None:
    """In the child: be killed when the parent is."""
    _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)
