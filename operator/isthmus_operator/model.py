"""The two resources as typed, frozen models; the CRDs' schemas are made from them.

A field stands here when what it promises works. Rules over several fields are CEL, so that the API
server refuses what is wrong at once and no webhook is needed; they ride along in
`x-kubernetes-validations`. What needs other resources to be judged is left to `status`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from itertools import combinations
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from isthmus_operator import names

CEL: Final = "x-kubernetes-validations"
RAW: Final = "x-isthmus-raw"
"""Marks a field whose content Kubernetes itself defines: taken as it is, checked at its use.
Its value is the name of the schema in `pod_schemas`."""

_FILTER: Final = r"^(#|([^#+\x00]*|\+)(/([^#+/\x00]*|\+))*(/#)?)$"
_DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_HOST_PORT: Final = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"
_SERVER: Final = r"^(mqtts?://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$"
_DURATION: Final = r"^([0-9]+(ms|s|m|h))+$"
_QUANTITY: Final = r"^[0-9]+(Ki|Mi|Gi)?$"


def rule(expression: str, message: str, path: str = "") -> JsonDict:
    """One CEL rule, as the CRD has it."""
    found: JsonDict = {"rule": expression, "message": message}
    return {**found, "fieldPath": path} if path else found


def rules(*found: JsonDict) -> JsonDict:
    """What a model carries, to have these rules in its schema."""
    return {CEL: list(found)}


def told(pattern: str, message: str) -> dict[str, Any]:
    """Arguments of a `Field`: a pattern, and what the API server says where a text differs."""
    found = rule(f"self.matches(r'{pattern}')", message)
    found["messageExpression"] = f"'\"' + self + '\": ' + {json.dumps(message)}"
    return {"pattern": pattern, "json_schema_extra": rules(found)}


class Model(BaseModel):
    """Base: camelCase outside, unknown keys refused (the API server has pruned them before)."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid"
    )


_TOLD_FILTER: Final = told(
    _FILTER,
    "not a topic filter: + and # stand for whole levels, and # only for the last ones, as in a/+/#",
)
_TOLD_NAME: Final = told(
    _DNS_LABEL, "not a name in Kubernetes: lower-case letters, digits and -, at most 63"
)
_TOLD_CLUSTER: Final = told(
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    "not a name of a cluster: letters, digits, '.', '_' and '-', a letter or digit first",
)
Filter = Annotated[str, Field(min_length=1, max_length=1024, **_TOLD_FILTER)]
Quantity = Annotated[
    str,
    Field(
        max_length=20,
        **told(_QUANTITY, "not an amount of bytes: a number, or one with Ki, Mi or Gi"),
    ),
]
Duration = Annotated[
    str, Field(max_length=20, **told(_DURATION, "not a duration: such as 500ms, 15s or 1m30s"))
]
Name = Annotated[str, Field(min_length=1, max_length=63, **_TOLD_NAME)]
ClusterName = Annotated[str, Field(min_length=1, max_length=128, **_TOLD_CLUSTER)]
SecretName = Annotated[str, Field(min_length=1, max_length=253)]
Port = Annotated[int, Field(ge=1, le=65535)]
LinkPort = Annotated[int, Field(ge=1, le=65534)]
NodePort = Annotated[int, Field(ge=1, le=65535)]
Raw = dict[str, Any]
RawList = Annotated[list[dict[str, Any]], Field(max_length=64)]


class SecretRef(Model):
    """A Secret in this namespace."""

    name: SecretName = Field(description="Name of the Secret.")


class KubeconfigRef(SecretRef):
    """A kubeconfig in a Secret in this namespace."""

    key: str = Field("kubeconfig", max_length=253, description="Key of the Secret that holds it.")


class Placement(Model):
    """Where the brokers run."""

    kubeconfig_secret_ref: KubeconfigRef | None = Field(
        None,
        description="Kubernetes cluster to run them on, by a kubeconfig. Not set: this one.",
    )
    namespace: Name | None = Field(
        None, description="Namespace there; it must exist. Not set: the name of this namespace."
    )


class ServiceType(StrEnum):
    """How a Service is reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class Service(Model):
    """How a listener is reached from outside of its pod."""

    type: ServiceType = Field(ServiceType.CLUSTER_IP, description="Type of the Service.")
    annotations: dict[
        Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=4096)]
    ] = Field(
        default_factory=dict,
        max_length=64,
        description="Annotations of the Service: what a load balancer's controller reads.",
    )
    load_balancer_class: str | None = Field(
        None, max_length=316, description="Which implementation of load balancers is to serve it."
    )
    node_port: NodePort | None = Field(None, description="Port on the nodes; not set: any free.")
    external_traffic_policy: Literal["Cluster", "Local"] | None = Field(
        None, description="Local keeps the client's address and uses only nodes with a broker."
    )
    load_balancer_source_ranges: list[Annotated[str, Field(max_length=64)]] = Field(
        default_factory=list,
        max_length=64,
        description="Networks that may come in through the load balancer, such as 203.0.113.0/24.",
    )


class LinkService(Service):
    """How the link listener is reached: from another Kubernetes cluster, unless told otherwise."""

    type: ServiceType = Field(ServiceType.LOAD_BALANCER, description="Type of the Service.")


_SERVICE_RULES: Final = rules(
    rule(
        "!has(self.nodePort) || self.type != 'ClusterIP'",
        "nodePort needs type NodePort or LoadBalancer",
        ".nodePort",
    ),
    rule(
        "!has(self.loadBalancerClass) || self.type == 'LoadBalancer'",
        "loadBalancerClass needs type LoadBalancer",
        ".loadBalancerClass",
    ),
    rule(
        "!has(self.externalTrafficPolicy) || self.type != 'ClusterIP'",
        "externalTrafficPolicy needs type NodePort or LoadBalancer",
        ".externalTrafficPolicy",
    ),
)
Service.model_config["json_schema_extra"] = _SERVICE_RULES
LinkService.model_config["json_schema_extra"] = _SERVICE_RULES


class Listener(Model):
    """A listener for clients."""

    enable: bool = Field(True, description="Whether it is open.")
    port: Port = Field(1883, description="Port of the pods and of the Service.")


class MqttListener(Listener):
    """MQTT over TCP; its `service` serves all listeners for clients."""

    service: Service = Field(
        default_factory=Service, description="Service of all listeners for clients."
    )


class TlsListener(Listener):
    """A listener for clients, over TLS."""

    secret_ref: SecretRef | None = Field(
        None,
        description="Secret of type kubernetes.io/tls with the certificate (tls.crt, tls.key). "
        "Not set: one that the operator's own authority for this cluster has signed.",
    )
    dns_names: list[Annotated[str, Field(max_length=253)]] = Field(
        default_factory=list,
        max_length=32,
        description="Further names for the certificate that the operator makes.",
    )


class MqttsListener(TlsListener):
    """MQTT over TLS."""

    port: Port = Field(8883, description="Port of the pods and of the Service.")


class WsListener(Listener):
    """MQTT over WebSocket."""

    port: Port = Field(8083, description="Port of the pods and of the Service.")


class WssListener(TlsListener):
    """MQTT over WebSocket over TLS."""

    port: Port = Field(8084, description="Port of the pods and of the Service.")


class LinkListener(Model):
    """Where other clusters come in."""

    port: LinkPort = Field(
        11883,
        description="Port of the Service, with TLS; without TLS it is the one after it.",
    )
    service: LinkService = Field(
        default_factory=LinkService, description="Service that other clusters reach."
    )
    advertised: str | None = Field(
        None,
        max_length=262,
        **told(_HOST_PORT, "expected host:port, or [IPv6 address]:port"),
        description="host:port under which other clusters reach it, where the operator can't know: "
        "behind NodePorts, a VPN or a proxy.",
    )


class Listeners(Model):
    """Where clients and other clusters come in."""

    mqtt: MqttListener = Field(default_factory=MqttListener, description="MQTT over TCP.")
    mqtts: MqttsListener | None = Field(None, description="MQTT over TLS. Not set: closed.")
    ws: WsListener | None = Field(None, description="MQTT over WebSocket. Not set: closed.")
    wss: WssListener | None = Field(
        None, description="MQTT over WebSocket over TLS. Not set: closed."
    )
    link: LinkListener = Field(
        default_factory=LinkListener, description="Where other clusters come in."
    )


_CLIENT_LISTENERS: Final = ("mqtt", "mqtts", "ws", "wss")
_TAKEN: Final = [names.LINK_PORT, names.LINK_PLAIN_PORT, names.API_PORT]


def _open(listener: str) -> str:
    return f"has(self.{listener}) && self.{listener}.enable"


Listeners.model_config["json_schema_extra"] = rules(
    *(
        rule(
            f"!({_open(one)} && {_open(other)} && self.{one}.port == self.{other}.port)",
            f"{one} and {other} have the same port; give one of them another",
            f".{other}.port",
        )
        for one, other in combinations(_CLIENT_LISTENERS, 2)
    ),
    *(
        rule(
            f"!({_open(one)} && self.{one}.port in {_TAKEN})",
            f"ports {', '.join(map(str, _TAKEN))} of the pods are those of links and of the admin"
            " API; choose another",
            f".{one}.port",
        )
        for one in _CLIENT_LISTENERS
    ),
)


class ClientAuthentication(Model):
    """Who may connect as a client."""

    anonymous: bool = Field(False, description="Whether clients without credentials are let in.")
    users_secret_ref: SecretRef | None = Field(
        None,
        description="Secret whose key `users` holds one USER:HASH a line, "
        "as `isthmus-broker passwd` writes it.",
    )


class Permit(StrEnum):
    """What a rule says."""

    ALLOW = "allow"
    DENY = "deny"


class AuthorizationRule(Model):
    """A rule fits where everything that it names fits; the first that fits decides."""

    permit: Permit = Field(description="What it says.")
    username: str | None = Field(None, max_length=1024, description="User name.")
    clientid: str | None = Field(None, max_length=1024, description="Client identifier.")
    ipaddr: str | None = Field(None, max_length=64, description="Address or network.")
    action: Literal["publish", "subscribe", "all"] = Field("all", description="What it is about.")
    topics: list[Annotated[str, Field(min_length=1, max_length=1024)]] = Field(
        default_factory=lambda: ["#"],
        min_length=1,
        max_length=64,
        description="Filters; with ${clientid}, ${username}, ${cert_common_name}.",
    )


class Authorization(Model):
    """What clients may do."""

    no_match: Permit = Field(
        Permit.ALLOW, description="Where no rule fits; allow never reaches $SYS and $LINK."
    )
    rules: list[AuthorizationRule] = Field(
        default_factory=list, max_length=256, description="In their order; the first decides."
    )


class BrokerClusterSpec(Model):
    """One MQTT broker cluster, wherever it runs."""

    cluster_name: ClusterName | None = Field(
        None,
        description="Name by which other clusters know it, unique among all that are linked. "
        "Not set: the name of the resource. Can't be changed.",
    )
    placement: Placement = Field(
        default_factory=Placement,
        description="Where the brokers run. Not set: here, beside this resource. Can't be changed.",
    )
    image: str | None = Field(
        None, min_length=1, max_length=512, description="Image of the broker. Not set: its own."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        None, description="When the image is pulled. Not set: what Kubernetes chooses."
    )
    listeners: Listeners = Field(
        default_factory=Listeners, description="Where clients and other clusters come in."
    )
    authentication: ClientAuthentication = Field(
        default_factory=ClientAuthentication, description="Who may connect as a client."
    )
    authorization: Authorization = Field(
        default_factory=Authorization, description="What clients may do."
    )
    config: str = Field(
        "",
        max_length=65536,
        description="HOCON that is merged last, for what this schema does not name. "
        "Not for cluster, node and api, which are the operator's.",
    )
    resources: Raw = Field(
        default_factory=dict,
        description="Requests and limits of the broker's container.",
        json_schema_extra={RAW: "resources"},
    )
    affinity: Raw = Field(
        default_factory=dict,
        description="Affinity of the pods.",
        json_schema_extra={RAW: "affinity"},
    )
    tolerations: RawList = Field(
        default_factory=list,
        description="Tolerations of the pods.",
        json_schema_extra={RAW: "tolerations"},
    )
    node_selector: dict[
        Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=63)]
    ] = Field(default_factory=dict, max_length=64, description="Nodes that the pods may run on.")
    topology_spread_constraints: RawList = Field(
        default_factory=list,
        description="How the pods are spread.",
        json_schema_extra={RAW: "topologySpreadConstraints"},
    )
    pod_labels: dict[
        Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=63)]
    ] = Field(default_factory=dict, max_length=64, description="Further labels of the pods.")
    pod_annotations: dict[
        Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=4096)]
    ] = Field(default_factory=dict, max_length=64, description="Further annotations of the pods.")
    image_pull_secrets: list[SecretRef] = Field(
        default_factory=list, max_length=16, description="Secrets for the image's registry."
    )
    priority_class_name: str | None = Field(
        None, max_length=253, description="Priority of the pods."
    )


BrokerClusterSpec.model_config["json_schema_extra"] = rules(
    rule(
        "has(self.clusterName) == has(oldSelf.clusterName)"
        " && (!has(self.clusterName) || self.clusterName == oldSelf.clusterName)",
        "clusterName can't be changed: other clusters know this one by it; make another one",
        ".clusterName",
    ),
    rule(
        "has(self.placement) == has(oldSelf.placement)"
        " && (!has(self.placement) || self.placement == oldSelf.placement)",
        "placement can't be changed: brokers don't move; make another BrokerCluster",
        ".placement",
    ),
)


class ExternalTls(Model):
    """How the connection to an external cluster is protected, beyond `mqtts://`."""

    ca_secret_ref: SecretRef | None = Field(
        None, description="Secret whose ca.crt has signed its certificate. Not set: the system's."
    )
    client_certificate_secret_ref: SecretRef | None = Field(
        None, description="Secret with the certificate (tls.crt, tls.key) that we show there."
    )
    server_name: str | None = Field(
        None, max_length=253, description="Name in its certificate. Not set: the host of server."
    )


class External(Model):
    """A cluster that somebody else runs: an EMQX from 5.8 on, or an Isthmus broker."""

    name: ClusterName = Field(description="What it calls itself.")
    server: str = Field(
        max_length=300,
        **told(_SERVER, "expected host:port, mqtt://host[:port] or mqtts://host[:port]"),
        description="Its MQTT listener: host:port, mqtt://host[:port] or mqtts://host[:port].",
    )
    credentials_secret_ref: SecretRef | None = Field(
        None, description="Secret with username and password for us to log in there."
    )
    tls: ExternalTls = Field(
        default_factory=ExternalTls, description="Certificates, with an mqtts:// server."
    )


class ClusterRef(Model):
    """A BrokerCluster in this namespace."""

    name: Name = Field(description="Name of the BrokerCluster.")


class End(Model):
    """One end of a link."""

    cluster: ClusterRef | None = Field(None, description="A BrokerCluster in this namespace.")
    external: External | None = Field(
        None, description="Instead of cluster: one that somebody else runs."
    )
    topics: list[Filter] | None = Field(
        None,
        max_length=128,
        description="What this end receives from the other; []: nothing. Not for an external end, "
        "whose owner configures what it receives.",
    )


End.model_config["json_schema_extra"] = rules(
    rule(
        "has(self.cluster) != has(self.external)",
        "an end has either cluster or external",
    ),
    rule(
        "has(self.external) != has(self.topics)",
        "topics belong to an end with cluster, and are required there ([] receives nothing)",
        ".topics",
    ),
)


class TlsMode(StrEnum):
    """Where the certificates of a link come from."""

    GENERATED = "Generated"
    CERT_MANAGER = "CertManager"
    SECRET = "Secret"  # noqa: S105 - the word, no secret
    DISABLED = "Disabled"


class IssuerRef(Model):
    """An issuer of cert-manager."""

    name: SecretName = Field(description="Name of the issuer.")
    kind: Literal["Issuer", "ClusterIssuer"] = Field("Issuer", description="Its kind.")
    group: str = Field("cert-manager.io", max_length=253, description="Its API group.")


class LinkTls(Model):
    """How the connections of a link are protected."""

    mode: TlsMode = Field(
        TlsMode.GENERATED,
        description="Generated: certificates of an authority of each BrokerCluster's own. "
        "CertManager: by an issuer. Secret: yours. Disabled: none, for networks that are safe.",
    )
    issuer_ref: IssuerRef | None = Field(None, description="With mode CertManager: the issuer.")
    secret_ref: SecretRef | None = Field(
        None,
        description="With mode Secret: tls.crt, tls.key and ca.crt, for server and client on both "
        "ends.",
    )


LinkTls.model_config["json_schema_extra"] = rules(
    rule(
        "(self.mode == 'CertManager') == has(self.issuerRef)",
        "issuerRef belongs to mode CertManager, and is required there",
        ".issuerRef",
    ),
    rule(
        "(self.mode == 'Secret') == has(self.secretRef)",
        "secretRef belongs to mode Secret, and is required there",
        ".secretRef",
    ),
)


class LinkAuthentication(Model):
    """How the two ends prove who they are."""

    mode: Literal["Generated", "Disabled"] = Field(
        "Generated",
        description="Generated: only the credentials of this link speak for the other end. "
        "Disabled: whoever the broker lets in may.",
    )


class Buffer(Model):
    """What waits while the other side is away."""

    max_bytes: Quantity = Field("64Mi", description="Bytes at most; beyond, the newest is dropped.")


class ClusterLinkSpec(Model):
    """Two broker clusters that exchange what somebody on the other side subscribes to."""

    enable: bool = Field(True, description="false: the link rests, on both ends.")
    ends: list[End] = Field(
        min_length=2, max_length=2, description="The two ends; neither is more than the other."
    )
    tls: LinkTls = Field(default_factory=LinkTls, description="Protection of its connections.")
    authentication: LinkAuthentication = Field(
        default_factory=LinkAuthentication, description="Proof of who the ends are."
    )
    pool_size: int = Field(8, ge=1, le=256, description="Connections that carry messages.")
    retry_interval: Duration = Field(
        "15s", description="A message not acknowledged for so long is sent again."
    )
    max_inflight: int = Field(
        32, ge=1, le=65535, description="Messages under way on each connection."
    )
    ordering: Literal["per_clientid", "random"] = Field(
        "per_clientid",
        description="per_clientid keeps each publisher's order; random spreads one publisher.",
    )
    buffer: Buffer = Field(default_factory=Buffer, description="What waits for the other side.")
    deletion_policy: Literal["Revoke", "Orphan"] = Field(
        "Revoke",
        description="Revoke: deleting this ends the link. Orphan: the brokers keep it.",
    )


_FIRST_NAME: Final = (
    "(has(self.ends[0].cluster) ? self.ends[0].cluster.name : self.ends[0].external.name)"
)
_SECOND_NAME: Final = _FIRST_NAME.replace("[0]", "[1]")
ClusterLinkSpec.model_config["json_schema_extra"] = rules(
    rule(
        "self.ends.size() != 2 || self.ends.exists(e, has(e.cluster))",
        "at least one end is a BrokerCluster: two external clusters are not ours to link",
        ".ends",
    ),
    rule(
        "self.ends.size() != 2 || self.ends.exists(e, has(e.cluster) == has(e.external))"
        f" || {_FIRST_NAME} != {_SECOND_NAME}",
        "the two ends are the same cluster; a link needs two that differ",
        ".ends",
    ),
)


class Meta(Model):
    """What we need of the metadata of a resource."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    name: str
    namespace: str
    uid: str
    generation: int = 1
    annotations: Mapping[str, str] = Field(default_factory=dict)
    deletion_timestamp: str | None = None
    creation_timestamp: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name


class BrokerCluster(BaseModel):
    """A BrokerCluster as it stands in the API server."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    metadata: Meta
    spec: BrokerClusterSpec = Field(default_factory=BrokerClusterSpec)
    status: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def cluster_name(self) -> str:
        """What other clusters know it by."""
        return self.spec.cluster_name or self.metadata.name

    @property
    def namespace(self) -> str:
        """Where its pods are, on the Kubernetes cluster of its placement."""
        return self.spec.placement.namespace or self.metadata.namespace

    @property
    def remote(self) -> KubeconfigRef | None:
        """Which other Kubernetes cluster it is placed on, if any."""
        return self.spec.placement.kubeconfig_secret_ref


class ClusterLink(BaseModel):
    """A ClusterLink as it stands in the API server."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    metadata: Meta
    spec: ClusterLinkSpec
    status: Mapping[str, Any] = Field(default_factory=dict)

    def clusters(self) -> list[str]:
        """Names of the BrokerClusters that are its ends."""
        return [end.cluster.name for end in self.spec.ends if end.cluster is not None]
