"""The configuration: HOCON in EMQX's vocabulary as typed, frozen values.

`load` reads a file and tells every mistake in it; `Settings` and its sections are what the parts
of the broker get. docs/configuration.md explains each key.
"""

from __future__ import annotations

from isthmus_broker.settings.loading import load, parse_link
from isthmus_broker.settings.models import (
    Accept,
    AnyListener,
    ApiSettings,
    AuthorizationSettings,
    Buffer,
    CertificateAuthentication,
    ClientTls,
    ClusterSettings,
    LinkSettings,
    ListenerSettings,
    ListenersSettings,
    LogSettings,
    MqttSettings,
    NodeSettings,
    PasswordAuthentication,
    RetainerSettings,
    RuleSettings,
    ServerTls,
    Settings,
    SslListener,
    SysTopicsSettings,
    TcpListener,
    TlsSettings,
    WebSocketSettings,
    WsListener,
    WssListener,
)
from isthmus_broker.settings.overlay import overlay_path
from isthmus_broker.settings.values import REDACTED, Bind, Server

__all__ = [
    "REDACTED",
    "Accept",
    "AnyListener",
    "ApiSettings",
    "AuthorizationSettings",
    "Bind",
    "Buffer",
    "CertificateAuthentication",
    "ClientTls",
    "ClusterSettings",
    "LinkSettings",
    "ListenerSettings",
    "ListenersSettings",
    "LogSettings",
    "MqttSettings",
    "NodeSettings",
    "PasswordAuthentication",
    "RetainerSettings",
    "RuleSettings",
    "Server",
    "ServerTls",
    "Settings",
    "SslListener",
    "SysTopicsSettings",
    "TcpListener",
    "TlsSettings",
    "WebSocketSettings",
    "WsListener",
    "WssListener",
    "load",
    "overlay_path",
    "parse_link",
]
