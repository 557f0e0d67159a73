"""What protects the pods: who reaches them, and how many may be away at once."""

from __future__ import annotations

from typing import Any

from isthmus_operator import names

Manifest = dict[str, Any]


def network_policy(selector: dict[str, str], ports: list[int]) -> Manifest:
    """Lets in clients and links, and whoever has the key of the admin API.

    The API server's pod proxy comes from addresses that a policy can't name; so the port of the
    admin API is open to all, and its key is what protects it. Where brokers go is not limited:
    other clusters may be anywhere.
    """
    return {
        "spec": {
            "podSelector": {"matchLabels": selector},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [{"port": port, "protocol": "TCP"} for port in (*ports, names.API_PORT)]}
            ],
        },
    }


def disruption_budget(selector: dict[str, str]) -> Manifest:
    """One pod at a time: with a single one this lets a node be drained."""
    return {"spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector}}}
