"""Daemons: started once, known by id and start time, stopped, frozen.

They outlive the one who started them, and are nobody's children, so that any later process can
find and end them. An id alone does not say enough: after a reboot it is somebody else's.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clusters import commands, waiting

_STARTED = 22 - 3
"""Start time's place in /proc/ID/stat, counted from what follows the name; proc_pid_stat(5)."""

# The shell's id and start time are the program's, once it has become it.
_BECOME: Final = """
at=$1 log=$2
shift 2
stat=$(cat /proc/$$/stat)
printf '%s %s\\n' $$ "$(printf '%s' "${stat##*) }" | cut -d' ' -f20)" >"$at.new"
mv "$at.new" "$at"
exec "$@" </dev/null >>"$log" 2>&1
"""


@dataclass(frozen=True)
class Daemon:
    """One program of a cluster; its id is kept in `folder`/run, what it says in `folder`/logs."""

    folder: Path
    name: str

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def _at(self) -> Path:
        return self.folder / "run" / f"{self.name}.pid"

    def start(self, command: Sequence[str | Path]) -> bool:
        """Start it unless it runs; returns whether it was started."""
        if self.running:
            return False
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._at.parent.mkdir(parents=True, exist_ok=True)
        self._at.unlink(missing_ok=True)
        words = [str(self._at), str(self.log), *map(str, command)]
        commands.run(["setsid", "--fork", "sh", "-c", _BECOME, "sh", *words], cwd=self.folder)
        waiting.until(self._at.exists, 10, lambda: f"{self.name} has not started")
        return True

    @property
    def pid(self) -> int | None:
        """Its process id, where it runs or is frozen."""
        try:
            pid, started = self._at.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _alive_since(int(pid)) == started else None

    @property
    def running(self) -> bool:
        """Whether it is there, frozen or not."""
        return self.pid is not None

    @property
    def state(self) -> str:
        """`runs`, `frozen` or `stopped`."""
        pid = self.pid
        if pid is None:
            return "stopped"
        return "frozen" if _state(pid) == "T" else "runs"

    def stop(self, grace: float = 5.0) -> None:
        """End it: asked first, after `grace` seconds made to. Does nothing where it is gone."""
        pid = self.pid
        if pid is not None:
            end(pid, grace)
        self._at.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop it in its tracks: it keeps its connections and answers nothing."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            os.kill(pid, number)

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for an error message."""
        if not self.log.exists():
            return "it has said nothing"
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"the end of {self.log}:", *(f"  {line[:300]}" for line in text)])


def end(pid: int, grace: float) -> None:
    """End a process: SIGTERM, and SIGKILL after `grace` seconds, or at once where it is 0."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 30.0)):
            if number is signal.SIGTERM and not grace:
                continue
            signal.pidfd_send_signal(handle, number)
            signal.pidfd_send_signal(handle, signal.SIGCONT)  # a frozen one would not hear
            if ended.poll(seconds * 1000):
                return
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def command_line(pid: int) -> list[str]:
    """A process's program and arguments; none where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def everyone() -> list[int]:
    """The ids of all processes that can be seen."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _fields(pid: int) -> list[str]:
    """What follows the name in /proc/ID/stat: state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _state(pid: int) -> str:
    fields = _fields(pid)
    return fields[0] if fields else "X"


def _alive_since(pid: int) -> str | None:
    fields = _fields(pid)
    return fields[_STARTED] if fields and fields[0] not in "ZX" else None
