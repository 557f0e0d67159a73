"""The configuration as typed, frozen values, in EMQX's vocabulary.

docs/configuration.md explains each key.
A field is here when the broker does what it promises. Models compare by value, so that a reload
can tell what changed. Reading files, defaults that depend on other sections and warnings are in
`loading`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)

from isthmus_broker.settings.values import (
    Bind,
    BindAddress,
    ByteRate,
    ClusterName,
    CountOrInfinity,
    Duration,
    DurationOrDisabled,
    DurationOrNever,
    ExpiryInterval,
    FileName,
    Filter,
    KeepAlive,
    Network,
    Place,
    Rate,
    RuleTopic,
    Secret,
    ServerAddress,
    Size,
    expected,
    mistake,
)

Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown key is a mistake."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        coerce_numbers_to_str=True,
        validate_default=False,
        hide_input_in_errors=True,
    )


# --- TLS ----------------------------------------------------------------------------------------


class TlsSettings(Section):
    """What both ends of TLS have in common; `net.tls` makes contexts of it."""

    cacertfile: FileName | None = None
    """Certificates of the authorities that the other end's certificate must come from."""
    certfile: FileName | None = None
    keyfile: FileName | None = None
    password: Secret | None = None
    """Of the key file."""
    verify: Literal["verify_peer", "verify_none"] = "verify_none"
    versions: tuple[Literal["tlsv1.2", "tlsv1.3"], ...] = ("tlsv1.2", "tlsv1.3")

    @model_validator(mode="after")
    def _pairs(self) -> TlsSettings:
        if (self.certfile is None) != (self.keyfile is None):
            missing = "keyfile" if self.keyfile is None else "certfile"
            raise mistake(f"{missing} is missing: certfile and keyfile come together")
        if not self.versions:
            raise mistake('versions is empty: expected "tlsv1.2", "tlsv1.3" or both')
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it names."""
        return tuple(file for file in (self.cacertfile, self.certfile, self.keyfile) if file)


class ClientTls(TlsSettings):
    """TLS of a link."""

    enable: bool = False
    verify: Literal["verify_peer", "verify_none"] = "verify_peer"
    server_name_indication: str | None = None
    """Name to expect in the certificate; None: the server's host; "disable": any."""


class ServerTls(TlsSettings):
    """TLS of a listener."""

    fail_if_no_peer_cert: bool = False

    @model_validator(mode="after")
    def _authority(self) -> ServerTls:
        if self.verify == "verify_peer" and self.cacertfile is None:
            raise mistake("cacertfile is missing: verify_peer needs to know whom to trust")
        if self.fail_if_no_peer_cert and self.verify == "verify_none":
            raise mistake("fail_if_no_peer_cert needs verify = verify_peer")
        return self


# --- Cluster and links --------------------------------------------------------------------------


class Accept(Section):
    """Who may speak for the other cluster here; one of them must fit, once any is given."""

    usernames: tuple[str, ...] = ()
    certificate_names: tuple[str, ...] = ()
    """Common names of verified client certificates."""


class Buffer(Section):
    """What waits while the other side is away."""

    max_bytes: Size = 64 << 20


class LinkSettings(Section):
    """One other cluster: where it is, and what is wanted from it."""

    name: ClusterName
    enable: bool = True
    server: ServerAddress
    clientid: str | None = Field(default=None, max_length=200)
    """Prefix of client identifiers; None: this cluster's name."""
    username: str | None = None
    password: Secret | None = None
    ssl: ClientTls = ClientTls()
    topics: tuple[Filter, ...]
    """Filters of what this side wants to receive; empty: nothing."""
    pool_size: int = Field(default=8, ge=1, le=256)
    """Connections that carry messages."""
    retry_interval: Duration = 15.0
    max_inflight: int = Field(default=32, ge=1, le=65535)
    """Unacknowledged messages on each connection."""
    buffer: Buffer = Buffer()
    ordering: Literal["per_clientid", "random"] = "per_clientid"
    accept: Accept = Accept()
    resource_opts: dict[str, Any] = Field(default={}, exclude=True)
    """EMQX's tuning of its own machinery: taken, and without meaning here."""

    @model_validator(mode="before")
    @classmethod
    def _upstream(cls, data: Any) -> Any:
        """EMQX 5.8.0 says `upstream` where later ones say `name`."""
        if not isinstance(data, dict) or "upstream" not in data:
            return data
        data = dict(data)
        name = data.pop("upstream")
        if data.setdefault("name", name) != name:
            raise mistake(
                f'name is "{data["name"]}" and upstream is "{name}": expected one of them'
            )
        return data

    @model_validator(mode="after")
    def _agree(self) -> LinkSettings:
        if self.server.tls is False and self.ssl.enable:
            raise mistake("ssl.enable = true contradicts server = mqtt://...: expected mqtts://")
        if self.password is not None and self.username is None:
            raise mistake("password without username")
        return self

    @property
    def is_guarded(self) -> bool:
        """Whether only certain clients may speak for the other cluster."""
        return bool(self.accept.usernames or self.accept.certificate_names)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted: `ssl.enable`, or `mqtts://`."""
        return self.ssl.enable or bool(self.server.tls)


class ClusterSettings(Section):
    """Our own cluster and its links."""

    name: ClusterName = "isthmus"
    links: tuple[LinkSettings, ...] = ()

    def link(self, name: str) -> LinkSettings | None:
        """Return the link to a cluster."""
        return next((link for link in self.links if link.name == name), None)


class NodeSettings(Section):
    """Our own node of the cluster."""

    name: str = Field(default="isthmus@127.0.0.1", min_length=1, max_length=255)
    cookie: Secret | None = Field(default=None, exclude=True)
    """EMQX's shared secret between nodes: taken, and without meaning here."""
    data_dir: Place | None = None
    """Where what the admin API changes is kept; None: beside the configuration file."""


# --- Listeners ----------------------------------------------------------------------------------


class ListenerSettings(Section):
    """One listener. Limits are for a listener that anybody can reach."""

    enable: bool = True
    bind: BindAddress
    max_connections: CountOrInfinity = 100_000
    max_conn_rate: Rate = 10_000.0
    """New connections a second, all clients together."""
    messages_rate: Rate = 1_000_000.0
    """PUBLISH packets a second from one client; above, it is read from more slowly."""
    bytes_rate: ByteRate = 256.0 * (1 << 20)
    """Bytes a second from one client; above, it is read from more slowly."""


class TcpListener(ListenerSettings):
    """MQTT over TCP."""


class SslListener(ListenerSettings):
    """MQTT over TLS."""

    ssl_options: ServerTls

    @model_validator(mode="after")
    def _certificate(self) -> SslListener:
        if self.enable and self.ssl_options.certfile is None:
            raise mistake("ssl_options.certfile is missing: a TLS listener needs a certificate")
        return self


def _check_path(path: str) -> str:
    if not path.startswith("/") or any(sign in path for sign in "{}?# "):
        raise expected('a path such as "/mqtt"')
    return path


class WebSocketSettings(Section):
    """How MQTT is carried by WebSocket."""

    mqtt_path: Annotated[str, AfterValidator(_check_path)] = "/mqtt"


class WsListener(ListenerSettings):
    """MQTT over WebSocket."""

    websocket: WebSocketSettings = WebSocketSettings()


class WssListener(SslListener):
    """MQTT over WebSocket over TLS."""

    websocket: WebSocketSettings = WebSocketSettings()


AnyListener = TcpListener | SslListener | WsListener | WssListener


class ListenersSettings(Section):
    """All listeners by kind and name."""

    tcp: dict[str, TcpListener] = {}
    ssl: dict[str, SslListener] = {}
    ws: dict[str, WsListener] = {}
    wss: dict[str, WssListener] = {}

    def all(self) -> dict[str, AnyListener]:
        """Every listener, enabled or not, by its identifier such as `tcp:default`."""
        kinds: dict[str, Mapping[str, AnyListener]]
        kinds = {"tcp": self.tcp, "ssl": self.ssl, "ws": self.ws, "wss": self.wss}
        return {f"{kind}:{name}": it for kind, named in kinds.items() for name, it in named.items()}

    def enabled(self) -> dict[str, AnyListener]:
        """The listeners that are to be open."""
        return {name: listener for name, listener in self.all().items() if listener.enable}


# --- MQTT ---------------------------------------------------------------------------------------

SharedStrategy = Literal["round_robin", "random", "sticky", "hash_clientid", "hash_topic"]


class MqttSettings(Section):
    """What clients may do, each of them."""

    max_packet_size: Annotated[Size, Field(ge=64, le=256 << 20)] = 1 << 20
    max_clientid_len: int = Field(default=65_535, ge=23, le=65_535)
    """Characters."""
    max_topic_levels: int = Field(default=128, ge=1, le=65_535)
    max_qos_allowed: int = Field(default=2, ge=0, le=2)
    max_topic_alias: int = Field(default=64, ge=0, le=65_535)
    retain_available: bool = True
    wildcard_subscription: bool = True
    shared_subscription: bool = True
    shared_subscription_strategy: SharedStrategy = "round_robin"
    server_keepalive: KeepAlive = None
    """Seconds that a client of MQTT 5.0 is told to use; None: what it asks for."""
    keepalive_multiplier: float = Field(default=1.5, ge=1, le=10)
    session_expiry_interval: ExpiryInterval = 7200.0
    """Seconds for which the session of a client of MQTT 3.1.1 without clean session is kept."""
    max_session_expiry_interval: DurationOrNever = 7 * 86400.0
    """Most seconds for which any session is kept, whatever the client asks for."""
    max_inflight: int = Field(default=128, ge=1, le=65_535)
    """QoS 1 and 2 messages that a client may have unacknowledged."""
    receive_maximum: int = Field(default=1024, ge=1, le=65_535)
    """QoS 1 and 2 messages that we let a client send before we acknowledge one."""
    max_awaiting_rel: CountOrInfinity = 1024
    """QoS 2 messages of a client that wait for its PUBREL."""
    await_rel_timeout: Duration = 300.0
    max_subscriptions: CountOrInfinity = 10_000
    max_mqueue_len: CountOrInfinity = 10_000
    """Messages that wait for a client."""
    max_mqueue_bytes: Size = 8 << 20
    mqueue_store_qos0: bool = False
    """Whether QoS 0 messages wait, too, while the client is away."""
    idle_timeout: Duration = 15.0
    """For CONNECT to come."""
    max_sessions: Count = 200_000
    """Sessions of this node, whether their clients are here or not."""
    allow_anonymous: bool | None = None
    """Whether clients without credentials are let in; None: where no authentication is set."""


class RetainerSettings(Section):
    """Retained messages of this node, all together."""

    max_retained_messages: CountOrInfinity = 100_000
    max_payload_size: Size = 1 << 20
    max_bytes: Size = 256 << 20
    msg_expiry_interval: DurationOrNever = math.inf
    """Seconds after which one goes, where it does not say so itself."""


# --- Who may do what ----------------------------------------------------------------------------


class PasswordAuthentication(Section):
    """User names and passwords from a file that `isthmus-broker passwd` writes."""

    mechanism: Literal["password_based"]
    enable: bool = True
    backend: Literal["file"] = "file"
    file: FileName


class CertificateAuthentication(Section):
    """A verified client certificate stands for its user."""

    mechanism: Literal["client_certificate"]
    enable: bool = True
    username_from: Literal["cn", "none"] = "cn"
    """What becomes the user name: the certificate's common name, or what the client says."""


AnyAuthentication = Annotated[
    PasswordAuthentication | CertificateAuthentication, Field(discriminator="mechanism")
]


class RuleSettings(Section):
    """One rule; everything that it names must fit, what it leaves out fits everybody."""

    permit: Literal["allow", "deny"]
    username: str | None = None
    clientid: str | None = None
    ipaddr: Network | None = None
    """An address or a network such as `10.0.0.0/8`."""
    action: Literal["publish", "subscribe", "all"] = "all"
    topics: tuple[RuleTopic, ...] = ("#",)
    """Filters with `${clientid}`, `${username}`, `${cert_common_name}`; `eq a/+` is literal."""

    @model_validator(mode="before")
    @classmethod
    def _user(cls, data: Any) -> Any:
        if isinstance(data, dict) and "user" in data and "username" not in data:
            data = dict(data)
            data["username"] = data.pop("user")
        return data


class AuthorizationSettings(Section):
    """Rules in their order: the first that fits decides."""

    no_match: Literal["allow", "deny"] = "allow"
    """What holds where no rule fits; never for `$SYS` and `$LINK`, which must be granted."""
    rules: tuple[RuleSettings, ...] = ()


# --- The rest -----------------------------------------------------------------------------------


class ApiSettings(Section):
    """The admin API."""

    enable: bool = True
    bind: BindAddress = Bind("127.0.0.1", 18083)
    api_key: Secret | None = None
    key_file: FileName | None = None
    """A file that holds the key; the same as `api_key = "file://..."`."""
    read_only: bool = False
    """Refuses changes: somebody else owns the configuration."""

    @model_validator(mode="before")
    @classmethod
    def _key_file(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("key_file"), str):
            if "api_key" in data:
                raise mistake("api_key and key_file: expected one of them")
            data = {**data, "api_key": f"file://{data['key_file'].removeprefix('file://')}"}
        return data

    @model_validator(mode="after")
    def _guarded(self) -> ApiSettings:
        if self.api_key is not None and len(self.api_key.get_secret_value()) < 16:
            raise mistake("the API key is too short: expected at least 16 characters")
        if self.enable and self.api_key is None and not self.bind.is_loopback:
            raise mistake(
                f"bind = {self.bind} can be reached by others and there is no key: "
                "expected api_key or key_file, or bind = 127.0.0.1:18083"
            )
        return self


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    file: Place | None = None
    """Appended to; None: standard error."""


class SysTopicsSettings(Section):
    """`$SYS` topics."""

    sys_msg_interval: DurationOrDisabled = 60.0
    """Seconds; None: none are published."""


class Settings(Section):
    """The whole configuration in force. `load` makes it; `Settings()` is the default one."""

    node: NodeSettings = NodeSettings()
    cluster: ClusterSettings = ClusterSettings()
    listeners: ListenersSettings = ListenersSettings()
    mqtt: MqttSettings = MqttSettings()
    retainer: RetainerSettings = RetainerSettings()
    authentication: tuple[AnyAuthentication, ...] = ()
    authorization: AuthorizationSettings = AuthorizationSettings()
    api: ApiSettings = ApiSettings()
    log: LogSettings = LogSettings()
    sys_topics: SysTopicsSettings = SysTopicsSettings()

    _path: Path | None = PrivateAttr(default=None)
    _files: tuple[Path, ...] = PrivateAttr(default=())
    _warnings: tuple[str, ...] = PrivateAttr(default=())
    _source_hash: str = PrivateAttr(default="")
    _raw_links: dict[str, dict[str, Any]] = PrivateAttr(default={})

    @property
    def path(self) -> Path | None:
        """The configuration file; None: there is none."""
        return self._path

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that this was made from, or that it names: those to watch."""
        return self._files

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works but is probably not what was meant; one line each."""
        return self._warnings

    @property
    def source_hash(self) -> str:
        """SHA-256 of the bytes of the configuration file alone; empty without one."""
        return self._source_hash

    @property
    def content_hash(self) -> str:
        """Hash of the configuration in force, the same however it is written."""
        shown = self.model_dump(mode="json", context={"secrets": True})
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def anonymous(self) -> bool:
        """Whether clients without credentials are let in."""
        if self.mqtt.allow_anonymous is not None:
            return self.mqtt.allow_anonymous
        return not any(method.enable for method in self.authentication)

    def raw_link(self, name: str) -> dict[str, Any]:
        """Return a link as it was written, secrets and `file://` included; empty if unknown."""
        return dict(self._raw_links.get(name, {}))
