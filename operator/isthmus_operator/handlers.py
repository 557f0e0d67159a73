"""What kopf calls: decorators and nothing more. Everything is done in `reconcile`.

kopf watches the two resources and the Secrets beside them, keeps one daemon for each resource, and
holds the finalizer until `on.delete` is through. It keeps no state of ours in annotations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import kopf

from isthmus_operator import names
from isthmus_operator.board import CLUSTER, LINK, Kind
from isthmus_operator.errors import ClusterError
from isthmus_operator.reconcile import Reconciler

_PLURALS: Final[dict[Kind, str]] = {CLUSTER: "brokerclusters", LINK: "clusterlinks"}
_RETRY: Final = 5.0
_GRACE: Final = 5.0
"""Seconds that a pass has to end by itself."""


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no copy of the resources in their annotations: nothing here asks for differences."""

    def fetch(self, *, body: kopf.Body) -> None:
        """There is none."""

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """Nothing is kept."""


def registry(
    reconciler: Reconciler, login: Any, heard: Callable[[], None]
) -> kopf.OperatorRegistry:
    """All handlers; `login` makes kopf's own credentials, `heard` is told of any event."""
    found = kopf.OperatorRegistry()
    kopf.on.login(registry=found, id="login")(login)
    for kind, plural in _PLURALS.items():
        _resource(found, reconciler, kind, plural)

    @kopf.on.event("v1", "secrets", registry=found, id="secret")
    def secret(body: kopf.Body, **_: Any) -> None:
        heard()
        reconciler.heard_of_secret(dict(body))

    return found


def _resource(
    found: kopf.OperatorRegistry, reconciler: Reconciler, kind: Kind, plural: str
) -> None:
    where = (names.GROUP, names.VERSION, plural)

    @kopf.on.event(*where, registry=found, id=f"{plural}-heard")
    def heard(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's name
        reconciler.heard(kind, type, dict(body))

    @kopf.daemon(
        *where,
        registry=found,
        id=f"{plural}-daemon",
        backoff=_RETRY,
        cancellation_backoff=_GRACE,
        cancellation_timeout=_RETRY,
    )
    async def follow(
        stopped: kopf.DaemonStopped, namespace: str | None, name: str | None, **_: Any
    ) -> None:
        await reconciler.follow(kind, (str(namespace), str(name)), stopped)

    @kopf.on.delete(*where, registry=found, id=f"{plural}-delete", backoff=_RETRY)
    async def delete(body: kopf.Body, **_: Any) -> None:
        try:
            await reconciler.delete(kind, dict(body))
        except ClusterError as error:
            raise kopf.TemporaryError(str(error), delay=_RETRY) from error


def settings() -> kopf.OperatorSettings:
    """Kopf's settings: own names, no events of its own, notice of streams that stall."""
    found = kopf.OperatorSettings()
    found.persistence.finalizer = names.FINALIZER
    found.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    found.persistence.diffbase_storage = NoDiffBase()
    found.posting.enabled = False
    found.peering.standalone = True
    found.scanning.disabled = True
    found.watching.server_timeout = 300
    found.watching.client_timeout = 330.0
    found.watching.connect_timeout = 10.0
    found.networking.request_timeout = 30.0
    found.networking.connect_timeout = 10.0
    found.process.ultimate_exiting_timeout = 20.0
    return found
