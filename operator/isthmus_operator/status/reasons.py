"""Reasons of conditions and events: a fixed list, which docs/operator.md explains.

Monitoring and scripts compare them, so none is renamed or taken away without a new API version.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why a condition is as it is."""

    # -- it works
    ACCEPTED = "Accepted"
    PROGRAMMED = "Programmed"
    CONNECTED = "Connected"
    SYNCED = "Synced"
    LINKED = "Linked"
    AVAILABLE = "Available"
    SETTLED = "Settled"
    # -- somebody wants it so
    PAUSED = "Paused"
    DISABLED = "Disabled"
    # -- what was written can't be used
    CLUSTER_NOT_FOUND = "ClusterNotFound"
    SELF_LINK = "SelfLink"
    TOPIC_INVALID = "TopicInvalid"
    TOPIC_OVERLAP = "TopicOverlap"
    LINK_CONFLICT = "LinkConflict"
    TLS_CONFLICT = "TLSConflict"
    SPEC_INVALID = "SpecInvalid"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - the word, no secret
    SECRET_INVALID = "SecretInvalid"  # noqa: S105
    CONFIG_REFUSED = "ConfigRefused"
    # -- the Kubernetes cluster of a placement
    KUBECONFIG_INVALID = "KubeconfigInvalid"
    REMOTE_UNREACHABLE = "RemoteUnreachable"
    REMOTE_FORBIDDEN = "RemoteForbidden"
    MANIFEST_REFUSED = "ManifestRefused"
    NAME_TAKEN = "NameTaken"
    # -- it takes time, or somebody's hand
    CERTIFICATE_PENDING = "CertificatePending"
    ADDRESS_PENDING = "AddressPending"
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    PODS_NOT_READY = "PodsNotReady"
    BROKER_UNREACHABLE = "BrokerUnreachable"
    CONFIG_PENDING = "ConfigPending"
    # -- the brokers about each other
    NAME_NOT_RESOLVED = "NameNotResolved"
    PEER_UNREACHABLE = "PeerUnreachable"
    TLS_FAILED = "TLSFailed"
    AUTHENTICATION_REFUSED = "AuthenticationRefused"
    NAME_MISMATCH = "NameMismatch"
    PEER_LINK_MISSING = "PeerLinkMissing"
    PEER_LINK_DISABLED = "PeerLinkDisabled"
    CONNECTING = "Connecting"
    DISCONNECTED = "Disconnected"
    BOOTSTRAPPING = "Bootstrapping"
    # -- it is not known
    STALE = "Stale"
    # -- only of events
    REVOKE_INCOMPLETE = "RevokeIncomplete"
    LEFT_BEHIND = "LeftBehind"
    CERTIFICATE_RENEWED = "CertificateRenewed"


PASSING: Final = frozenset(
    {Reason.CONFIG_PENDING, Reason.CONNECTING, Reason.BOOTSTRAPPING, Reason.PAUSED, Reason.DISABLED}
)
"""Not met, and still nothing to warn of."""

_BROKERS_WORDS: Final = (
    (r"is this cluster itself", Reason.SELF_LINK),
    (r"the cluster at .* is called", Reason.NAME_MISMATCH),
    (r"has no link to", Reason.PEER_LINK_MISSING),
    (r"has disabled its link", Reason.PEER_LINK_DISABLED),
    (r"does not accept this client", Reason.AUTHENTICATION_REFUSED),
    (r"connection refused: .*(authori|user ?name|password|banned|client identifier)",
     Reason.AUTHENTICATION_REFUSED),
    (r"TLS: ", Reason.TLS_FAILED),
    (r"not known|not resolved|name resolution|No address", Reason.NAME_NOT_RESOLVED),
    (r"Connection refused|no answer within|unreachable|No route", Reason.PEER_UNREACHABLE),
    (r"has not introduced itself", Reason.CONNECTING),
)  # fmt: skip
"""In this order; see "When it does not run" in docs/linking.md."""
_WHAT_TO_DO: Final = {
    Reason.NAME_NOT_RESOLVED: "check that name in the DNS of the broker's Kubernetes cluster",
    Reason.PEER_UNREACHABLE: "check that brokers run there and that the address and its port are"
    " reached from here: load balancer, firewalls, network policies",
    Reason.TLS_FAILED: "check that the other end shows a certificate of the authority that this"
    " link was given, for the expected name",
    Reason.AUTHENTICATION_REFUSED: "check the credentials of this link on both ends",
    Reason.NAME_MISMATCH: "correct the address, or the name of that end",
    Reason.PEER_LINK_MISSING: "add the link there: both ends need it",
    Reason.PEER_LINK_DISABLED: "enable it there",
    Reason.SELF_LINK: "the address must be the other cluster's",
}


def of_link(state: str, words: str) -> Reason:
    """What a broker means by the state and the reason of a link's direction."""
    for pattern, reason in _BROKERS_WORDS:
        if re.search(pattern, words, re.IGNORECASE if "refused:" in pattern else 0):
            return reason
    if state == "stopped":
        return Reason.DISABLED
    return Reason.CONNECTING if state == "connecting" else Reason.DISCONNECTED


def advice(reason: Reason) -> str:
    """What somebody can do about it: the end of a sentence, or empty."""
    found = _WHAT_TO_DO.get(reason)
    return f"; {found}" if found else ""
