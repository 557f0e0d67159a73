"""The operator as a real process against real API servers, and a look at its log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

_BAD: Final = re.compile(r"Traceback|\"level\": ?\"(error|critical)\"|ERROR|CRITICAL|Unclosed")
_ROOT: Final = Path(__file__).parents[2]


class Operator:
    """One process; started and stopped as often as a test likes, all in one log."""

    def __init__(self, kubeconfig: Path, log: Path, **environment: str) -> None:
        self.log_file = log
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "ISTHMUS_BROKER_IMAGE": "isthmus-broker:test",
            "ISTHMUS_LEASE_NAMESPACE": "default",
            "ISTHMUS_HEALTH_PORT": "0",
            "ISTHMUS_LOG_FORMAT": "json",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        self._output = self.log_file.open("ab")
        command = [sys.executable, "-m", "isthmus_operator", "run"]
        self._process = subprocess.Popen(
            command, stdout=self._output, stderr=subprocess.STDOUT, env=self._environment, cwd=_ROOT
        )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait for that."""
        if self._process is None:
            return
        self._process.send_signal(how)
        status = self._process.wait(timeout=30)
        self._process = None
        if self._output is not None:
            self._output.close()
        assert how is signal.SIGKILL or status in (0, -how), f"ended with {status}\n{self.log()}"

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """All that it has written."""
        return self.log_file.read_text(errors="replace")

    def check_log(self) -> None:
        """Nothing in the log that nobody expects.

        Raises:
            AssertionError: with the lines.
        """
        bad = [line for line in self.log().splitlines() if _BAD.search(line)]
        assert not bad, "\n".join(bad[:20])
