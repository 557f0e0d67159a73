"""One broker cluster of the demo: its configuration, its process, what it tells."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any, Final

from demonstration import processes, reading
from demonstration.ports import Ports, is_listening
from demonstration.waiting import NotSeen, until
from isthmus_broker.cli.links import Api

TREE: Final = Path(__file__).parent.parent / "demo-config"
_ADDRESS: Final = re.compile(r"(?<=\b127\.0\.0\.1:)\d+\b")
_SHOWN: Final = 20
"""Lines of a log that are shown where something went wrong."""

_MAIN: Final = """\
# Made by ./hack/demo, which deletes it in the end. Changes are taken up while it runs.
{includes}

# What two clusters on one machine can't share.
listeners.tcp.default.bind = "127.0.0.1:{ports.mqtt}"
api.bind = "127.0.0.1:{ports.api}"
node.name = "isthmus-{short}@127.0.0.1"
"""


def moved(text: str, offset: int) -> str:
    """A configuration with its ports of 127.0.0.1 moved."""
    return _ADDRESS.sub(lambda port: str(int(port[0]) + offset), text)


class Cluster:
    """A cluster of one broker."""

    def __init__(self, short: str, peer: str, ports: Ports, directory: Path) -> None:
        self.short = short
        self.name = f"cluster-{short}"
        self.peer = f"cluster-{peer}"
        self.ports = ports
        self.file = directory / f"{self.name}.conf"
        self.log = directory / f"{self.name}.log"
        self.process: Process | None = None
        self._api = Api(f"http://127.0.0.1:{ports.api}")

    # -- configuration -----------------------------------------------------------------------------

    def copy(self, offset: int, variants: tuple[str, ...] = ()) -> None:
        """Put copies of its files in the tree beside its own file, which includes the first."""
        for variant in ("", *variants):
            name = f"{self.short}{variant}.conf"
            text = (TREE / name).read_text(encoding="utf-8")
            (self.file.parent / name).write_text(moved(text, offset), encoding="utf-8")
        self.configure()

    def configure(self, *variants: str) -> None:
        """Write its file, which a running broker takes up; later variants win."""
        includes = "\n".join(f'include "{self.short}{it}.conf"' for it in ("", *variants))
        new = self.file.with_suffix(".new")
        new.write_text(
            _MAIN.format(includes=includes, ports=self.ports, short=self.short), encoding="utf-8"
        )
        new.replace(self.file)

    # -- life --------------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.returncode is None

    async def start(self) -> float:
        """Start its broker and wait until it listens; returns the seconds that it took.

        Raises:
            NotSeen: it does not.
        """
        command = [sys.executable, "-m", "isthmus_broker", "run", "--config", str(self.file)]
        self.process = await processes.spawn(command, self.log)

        async def listening() -> bool:
            if not self.runs:
                raise NotSeen(f"{self.name} ended at once")
            return all(map(is_listening, self.ports.all))

        _, took = await until(listening, bool, f"{self.name} listens on {self.ports.all}")
        return took

    async def stop(self) -> None:
        """End it as a system would."""
        if self.process is not None:
            await processes.end(self.process)

    async def kill(self) -> None:
        """End it without any warning (`kill -9`)."""
        if self.process is not None:
            await processes.end(self.process, signal.SIGKILL)

    def last_words(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_SHOWN:])

    # -- what it tells -----------------------------------------------------------------------------

    async def told(self) -> reading.Told | None:
        """What it tells of its link; None where it does not answer."""
        try:
            return reading.told(
                await self._get(f"/api/v5/cluster/links/link/{self.peer}"),
                await self._get(f"/api/v5/cluster/links/link/{self.peer}/metrics"),
            )
        except OSError:
            return None

    async def _get(self, path: str) -> Any:
        return await asyncio.to_thread(self._api.get, path)
