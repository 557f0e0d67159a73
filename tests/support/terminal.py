"""A program in a terminal of its own: what it shows, and keys for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_CODES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
_END: Final = 15.0


class Terminal:
    """A program in a terminal of 80 columns and 24 lines."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.shown = ""
        """Everything that was written, without colours and cursor movements."""
        self._master = master

    def press(self, keys: str) -> None:
        """Type; "\\x03" is Ctrl-C."""
        os.write(self._master, keys.encode())

    def wait(self, text: str, timeout: float = 60.0) -> None:
        """Wait until a text has been written, from now on or before."""
        deadline = time.monotonic() + timeout
        while text not in self.shown:
            assert time.monotonic() < deadline, f"not within {timeout:g} s: {text}\n{self.shown}"
            assert self._read(), f"ended without: {text}\n{self.shown}"

    def end(self, timeout: float = _END) -> int:
        """Wait until it ends; returns its exit code."""
        deadline = time.monotonic() + timeout
        while self._read():
            assert time.monotonic() < deadline, f"goes on after {timeout:g} s\n{self.shown}"
        return self.process.wait(timeout)

    def _read(self) -> bool:
        """Take what has been written, if anything; False: it has ended."""
        if not select.select([self._master], [], [], 0.1)[0]:
            return True
        try:
            written = os.read(self._master, 65_536)
        except OSError:  # EIO: nobody has it open any more
            return False
        self.shown += _CODES.sub("", written.decode(errors="replace"))
        return True


@contextlib.contextmanager
def terminal(command: Sequence[str], env: Mapping[str, str]) -> Iterator[Terminal]:
    """Run a program in a terminal; killed afterwards where it goes on."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**env, "TERM": "xterm-256color"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)
