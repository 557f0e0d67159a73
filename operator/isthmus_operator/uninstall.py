"""Before the operator goes for good: takes its finalizer off what remains, so that nothing hangs.

Brokers go on, and so do their links: whoever deletes a BrokerCluster later has the API server take
away what is beside it; what is in another Kubernetes cluster has to be deleted there. The operator
itself must have stopped before, or it would put its finalizers back.

`release_finalizers` is a command for `__main__`; the chart's Job before an uninstall calls it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

import aiohttp
import typer
from kubernetes.aio import config
from kubernetes.aio.client import (
    ApiClient,
    AppsV1Api,
    Configuration,
    CoordinationV1Api,
    CoreV1Api,
    CustomObjectsApi,
)
from kubernetes.aio.client.exceptions import ApiException

from isthmus_operator.names import FINALIZER, GROUP, VERSION

Resource = dict[str, Any]

PLURALS: Final = ("clusterlinks", "brokerclusters")
_MERGE: Final = "application/merge-patch+json"
_STOPPING: Final = 60.0
"""Seconds that the operator has to stop; then it is taken for dead."""
_POLL: Final = 0.5
_CALL: Final = 10.0
_PAGE: Final = 200
_TRIES: Final = 5


@dataclass(frozen=True)
class Deployment:
    """The operator's own Deployment; its Lease has the same name."""

    namespace: str
    name: str

    @classmethod
    def parsed(cls, text: str) -> Deployment:
        """From NAMESPACE/NAME.

        Raises:
            ValueError: it is not like that.
        """
        namespace, slash, name = text.partition("/")
        if not (namespace and slash and name):
            raise ValueError(f"{text!r}: expected NAMESPACE/NAME of the operator's Deployment")
        return cls(namespace, name)


def release_finalizers(
    namespace: Annotated[
        list[str] | None, typer.Option(help="One that the operator looks after; not set: all.")
    ] = None,
    deployment: Annotated[
        str, typer.Option(help="NAMESPACE/NAME of the operator's Deployment, to be stopped first.")
    ] = "",
) -> None:
    """Stop the operator and take its finalizer off what remains; brokers and links go on."""
    try:
        itself = Deployment.parsed(deployment) if deployment else None
        asyncio.run(_from_here(namespace or [], itself))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except (ApiException, aiohttp.ClientError, TimeoutError, config.ConfigException) as error:
        typer.echo(f"The API server did not do it, run this again: {error}", err=True)
        raise typer.Exit(1) from error


async def _from_here(namespaces: Sequence[str], deployment: Deployment | None) -> None:
    """In a pod as its ServiceAccount; elsewhere as the kubeconfig says."""
    configuration = Configuration()
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with ApiClient(configuration) as api:
        await uninstall(api, namespaces, deployment, typer.echo)


async def uninstall(
    api: ApiClient,
    namespaces: Sequence[str],
    deployment: Deployment | None,
    say: Callable[[str], None],
) -> None:
    """Stop the operator, then release what it holds.

    Args:
        api: a client that may do so.
        namespaces: that it looks after; none: all.
        deployment: to be scaled to zero first; None: it runs no more.
        say: is told what was done, a line each.

    Raises:
        ApiException: the API server refused.
    """
    if deployment is not None:
        if not await stop(api, deployment):
            say(f"{deployment.name} has not stopped within {_STOPPING:.0f} s; going on without it")
        await _drop_lease(api, deployment)
    async for path in release(api, namespaces):
        say(f"{path}: released")


async def stop(api: ApiClient, deployment: Deployment, seconds: float = _STOPPING) -> bool:
    """Scale the operator to zero and wait for its pods to go; whether they have gone in time."""
    none = {"spec": {"replicas": 0}}
    try:
        scale = await AppsV1Api(api).patch_namespaced_deployment_scale(
            deployment.name,
            deployment.namespace,
            none,
            _content_type=_MERGE,
            _request_timeout=_CALL,
        )
    except ApiException as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return True
        raise
    selector = (scale.status and scale.status.selector) or ""
    try:
        async with asyncio.timeout(seconds):
            while await _pods(api, deployment.namespace, selector):  # noqa: ASYNC110 - no event
                await asyncio.sleep(_POLL)
    except TimeoutError:
        return False
    return True


async def release(api: ApiClient, namespaces: Sequence[str]) -> AsyncIterator[str]:
    """Take our finalizer off every resource; gives the path of each that had it."""
    for plural in PLURALS:
        async for resource in _resources(api, plural, namespaces):
            if await _released(api, plural, resource):
                meta = resource["metadata"]
                yield f"{plural}/{meta['namespace']}/{meta['name']}"


async def _pods(api: ApiClient, namespace: str, selector: str) -> bool:
    """Whether there are some; the right to list them is all that the hook has."""
    found = await CoreV1Api(api).list_namespaced_pod(
        namespace, label_selector=selector, limit=1, _request_timeout=_CALL
    )
    return bool(found.items)


async def _drop_lease(api: ApiClient, deployment: Deployment) -> None:
    try:
        await CoordinationV1Api(api).delete_namespaced_lease(
            deployment.name, deployment.namespace, _request_timeout=_CALL
        )
    except ApiException as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise


async def _resources(
    api: ApiClient, plural: str, namespaces: Sequence[str]
) -> AsyncIterator[Resource]:
    """Those that are there, page by page; none where the CRD is gone."""
    custom = CustomObjectsApi(api)
    for namespace in namespaces or [""]:
        page = ""
        while True:
            options: dict[str, Any] = {"limit": _PAGE, "_request_timeout": _CALL}
            if page:
                options["_continue"] = page
            try:
                found: Any = await (
                    custom.list_namespaced_custom_object(
                        GROUP, VERSION, namespace, plural, **options
                    )
                    if namespace
                    else custom.list_cluster_custom_object(GROUP, VERSION, plural, **options)
                )
            except ApiException as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    break
                raise
            for resource in found["items"]:
                yield resource
            page = found["metadata"].get("continue", "")
            if not page:
                break


async def _released(api: ApiClient, plural: str, resource: Resource) -> bool:
    """Take our finalizer off, whoever else changes the resource meanwhile; whether it was there."""
    custom = CustomObjectsApi(api)
    meta = resource["metadata"]
    where = (GROUP, VERSION, meta["namespace"], plural, meta["name"])
    for attempt in range(_TRIES):
        finalizers = meta.get("finalizers", [])
        if FINALIZER not in finalizers:
            return attempt > 0
        rest = [one for one in finalizers if one != FINALIZER]
        # The version makes the API server refuse, rather than drop somebody else's new finalizer.
        body = {"metadata": {"finalizers": rest, "resourceVersion": meta["resourceVersion"]}}
        try:
            await custom.patch_namespaced_custom_object(
                *where, body, _content_type=_MERGE, _request_timeout=_CALL
            )
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return True
            if error.status != HTTPStatus.CONFLICT or attempt == _TRIES - 1:
                raise
            found = await _again(custom, plural, meta)
            if found is None:
                return True
            meta = found["metadata"]
        else:
            return True
    return False


async def _again(custom: CustomObjectsApi, plural: str, meta: Resource) -> Resource | None:
    """The resource as it is now; found by listing, which is all that the hook may do."""
    listed: Any = await custom.list_namespaced_custom_object(
        GROUP,
        VERSION,
        meta["namespace"],
        plural,
        field_selector=f"metadata.name={meta['name']}",
        _request_timeout=_CALL,
    )
    found: list[Resource] = listed["items"]
    return found[0] if found else None
