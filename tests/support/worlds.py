"""Resources, and what tests ask of two Kubernetes clusters with the operator on the first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from clusters import Cluster
from operators import Operator
from waiting import wait_for


@dataclass
class World:
    """Home, the other cluster, and a namespace that no other test uses on both."""

    home: Cluster
    other: Cluster
    namespace: str
    operator: Operator

    def get(self, what: str, name: str, *, at: Cluster | None = None) -> dict[str, Any] | None:
        """An object; None where there is none."""
        cluster = at or self.home
        found = cluster.kubectl(
            "-n", self.namespace, "get", what, name, "--ignore-not-found", "-o", "json"
        )
        document: dict[str, Any] | None = json.loads(found) if found.strip() else None
        return document

    def apply(self, *documents: dict[str, Any]) -> None:
        """Apply resources at home, in the namespace."""
        for one in documents:
            one.setdefault("apiVersion", "isthmus.dev/v1alpha1")
            one["metadata"]["namespace"] = self.namespace
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        self.home.kubectl("apply", "-f", "-", stdin=text)

    def patch(self, what: str, name: str, patch: Any, *, at: Cluster | None = None) -> None:
        """Change some fields of an object."""
        cluster = at or self.home
        cluster.kubectl(
            "-n", self.namespace, "patch", what, name, "--type=merge", "-p", json.dumps(patch)
        )

    def delete(self, what: str, name: str, *more: str, at: Cluster | None = None) -> None:
        """Delete an object and wait until it is gone."""
        (at or self.home).kubectl(
            "-n", self.namespace, "delete", what, name, "--timeout=90s", *more
        )

    def condition(self, what: str, name: str, kind: str = "Ready") -> tuple[str, str, str]:
        """Status, reason and message of a condition; empty where it is not there."""
        found = (self.get(what, name) or {}).get("status", {}).get("conditions", [])
        for one in found:
            if one["type"] == kind:
                return one["status"], one["reason"], one["message"]
        return "", "", ""

    def wait_reason(self, what: str, name: str, reason: str, kind: str = "Ready") -> str:
        """Wait until a condition has a reason; returns its message."""
        wait_for(
            lambda: self.condition(what, name, kind)[1] == reason,
            30.0,
            f"{what} {name} {kind} {reason}: {self.condition(what, name, kind)}",
        )
        return self.condition(what, name, kind)[2]

    def versions(self) -> dict[str, str]:
        """Version of every object in the namespace, on both clusters."""
        kinds = "bc,clink,sts,svc,cm,secret,pdb,netpol,sa,events"
        found = {}
        for cluster in (self.home, self.other):
            listed = (
                cluster.kubectl("-n", self.namespace, "get", kinds, "-o", "json")
                if (cluster is self.home)
                else cluster.kubectl(
                    "-n", self.namespace, "get", kinds.removeprefix("bc,clink,"), "-o", "json"
                )
            )
            for one in json.loads(listed)["items"]:
                meta = one["metadata"]
                if meta["name"].endswith("-canary"):
                    continue
                found[f"{cluster.name}/{one['kind']}/{meta['name']}"] = meta["resourceVersion"]
        return found


def cluster(name: str, **spec: Any) -> dict[str, Any]:
    """A BrokerCluster with an address that need not be waited for."""
    link = {"advertised": f"{name}.example.net:11883"}
    return {
        "kind": "BrokerCluster",
        "metadata": {"name": name},
        "spec": {"listeners": {"link": link}, **spec},
    }


def link(name: str, a: str, b: str, **spec: Any) -> dict[str, Any]:
    """A ClusterLink of two BrokerClusters."""
    ends = [{"cluster": {"name": one}, "topics": ["#"]} for one in (a, b)]
    return {"kind": "ClusterLink", "metadata": {"name": name}, "spec": {"ends": ends, **spec}}


REMOTE = {"placement": {"kubeconfigSecretRef": {"name": "other"}}}
