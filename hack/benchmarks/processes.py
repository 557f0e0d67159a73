"""Broker processes: started on given cores, ended by their id, and what they have cost so far."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.machine import MachineError

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_START: Final = 15.0
"""Seconds that a process has to listen."""
_END: Final = 15.0
"""Seconds that a process has to end by itself."""
_SET_PDEATHSIG: Final = 1  # of prctl(2)
_libc: Final = ctypes.CDLL(None)


class Process:
    """One process and its children; `stop` is safe to call at any time."""

    def __init__(
        self, name: str, command: Sequence[str], cores: Iterable[int], directory: Path
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._cores = frozenset(cores)
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=self._prepare,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it is still there."""
        return self._popen.poll() is None

    def wait_listening(self, port: int) -> None:
        """Wait until it accepts connections on a port of 127.0.0.1.

        Raises:
            MachineError: it ended, or it does not in time.
        """
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline and self.running:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        state = "does not listen" if self.running else "ended at once"
        raise MachineError(f"{self.name} {state}:\n{self.last_words()}")

    def check_running(self) -> None:
        """Raises `MachineError` where it has ended."""
        if not self.running:
            raise MachineError(f"{self.name} has ended:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL where that is not enough."""
        if self.running:
            self._popen.terminate()
            self.signal(signal.SIGCONT)  # it may be frozen
        try:
            self._popen.wait(_END)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def cpu(self) -> float:
        """CPU seconds so far, user and system, children included (`/proc/PID/stat`)."""
        return sum(_cpu(pid) for pid in _family(self.pid))

    def memory(self) -> int:
        """Bytes of memory that are its own: proportional set size, children included."""
        return sum(_memory(pid) for pid in _family(self.pid))

    def _prepare(self) -> None:
        """In the child: cores, and an end even where the bench is killed."""
        os.sched_setaffinity(0, self._cores)
        _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS  # utime, stime, cutime, cstime


def _memory(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise MachineError(f"/proc/{pid}/smaps_rollup has no Pss")
