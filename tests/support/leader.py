"""Takes a Lease and keeps it, as a process that can be killed: KUBECONFIG NAMESPACE NAME WHO."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from isthmus_operator import kubeconfig
from isthmus_operator.cluster import KubeCluster
from isthmus_operator.lease import Lease


async def main(config: str, namespace: str, name: str, who: str) -> None:
    """Lead until the Lease is lost, or SIGTERM comes, upon which it is given back."""
    cluster = KubeCluster(kubeconfig.of_file(Path(config)))
    lease = Lease(cluster, namespace, name, who)
    await lease.acquire()
    print("leads", flush=True)  # noqa: T201 - the test reads it
    holding = asyncio.create_task(lease.hold())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, holding.cancel)
    await asyncio.gather(holding, return_exceptions=True)
    await lease.release()
    await cluster.close()


asyncio.run(main(*sys.argv[1:]))
