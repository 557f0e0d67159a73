"""Hands out addresses to Services of type LoadBalancer, as a cloud would; one process a cluster.

Two annotations of a Service make it misbehave, for tests:

- `isthmus.test/no-address: "true"`: it gets none, and what it had is taken from it.
- `isthmus.test/address: 198.18.1.200`: it gets this one, now.

A Service with a class is somebody else's, and left alone.
"""

from __future__ import annotations

import ipaddress
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from clusters.api import Api, Document
from clusters.certificates import Identity
from clusters.controlplane import Place
from clusters.errors import Failed

DAEMON: Final = "load-balancer"
MODULE: Final = "clusters.loadbalancer"
NO_ADDRESS: Final = "isthmus.test/no-address"
ADDRESS: Final = "isthmus.test/address"

_LIST: Final = "/api/v1/services"
_WATCH: Final = 300
"""Seconds of one watch."""
_AGAIN: Final = 1.0
"""Seconds until the next attempt, where the API server does not answer."""


def changes(services: Iterable[Document], range_: ipaddress.IPv4Network) -> dict[str, str | None]:
    """What has to be changed: path of a Service to its new address, or to None for none.

    A Service keeps the address that it has; others get the lowest that is free.
    """
    ours = [service for service in services if _is_ours(service)]
    taken = {
        address for service in ours for address in (_current(service), _asked(service)) if address
    }
    found: dict[str, str | None] = {}
    for service in sorted(ours, key=_path):
        wanted = _wanted(service, range_, taken)
        if wanted != _current(service):
            found[_path(service)] = wanted
        if wanted:
            taken.add(wanted)
    return found


def _wanted(service: Document, range_: ipaddress.IPv4Network, taken: set[str]) -> str | None:
    if _annotations(service).get(NO_ADDRESS) == "true":
        return None
    free = (str(address) for address in range_.hosts() if str(address) not in taken)
    return _asked(service) or _current(service) or next(free, None)


def _is_ours(service: Document) -> bool:
    spec = service["spec"]
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass")


def _asked(service: Document) -> str | None:
    asked = _annotations(service).get(ADDRESS) or service["spec"].get("loadBalancerIP")
    return str(asked) if asked else None


def _annotations(service: Document) -> Document:
    annotations: Document = service["metadata"].get("annotations") or {}
    return annotations


def _current(service: Document) -> str | None:
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    return ingress[0].get("ip") if ingress else None


def _path(service: Document) -> str:
    meta = service["metadata"]
    return f"/api/v1/namespaces/{meta['namespace']}/services/{meta['name']}"


def start(place: Place, range_: ipaddress.IPv4Network) -> None:
    """Start the process that does it, where it does not run."""
    package = Path(__file__).parent
    environment = ["env", f"PYTHONPATH={package.parent}", "PYTHONDONTWRITEBYTECODE=1"]
    command = [*environment, sys.executable, "-m", MODULE]
    identity = place.api().identity
    files = [place.authority.certificate, identity.certificate, identity.key]
    place.daemon(DAEMON).start([*command, place.server, *files, str(range_)])


def _once(api: Api, range_: ipaddress.IPv4Network) -> None:
    for path, address in changes(api.get(_LIST)["items"], range_).items():
        ingress = [{"ip": address}] if address else None
        try:
            api.merge(f"{path}/status", {"status": {"loadBalancer": {"ingress": ingress}}})
        except Failed as error:  # gone meanwhile, or an address that is none
            print(error, flush=True)
        else:
            print(f"{path}: {address}", flush=True)


def _serve(api: Api, range_: ipaddress.IPv4Network) -> None:
    while True:
        try:
            for _ in api.watch(_LIST, _WATCH):
                _once(api, range_)
        except (OSError, Failed) as error:
            print(error, flush=True)
            time.sleep(_AGAIN)


def _main(server: str, ca: str, certificate: str, key: str, range_: str) -> None:
    api = Api(server, Path(ca), Identity(Path(certificate), Path(key)))
    _serve(api, ipaddress.IPv4Network(range_))


if __name__ == "__main__":
    _main(*sys.argv[1:])
