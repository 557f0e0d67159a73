"""TLS contexts from the configuration; TLS 1.2 and later only.

Left to others: when certificates have changed (`net.watch`), and what a verified name means
(`auth.verify`).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from isthmus_broker.errors import ConfigurationError, Mistake
from isthmus_broker.settings import ClientTls, ServerTls, Settings, TlsSettings

_VERSIONS: Final = {"tlsv1.2": ssl.TLSVersion.TLSv1_2, "tlsv1.3": ssl.TLSVersion.TLSv1_3}


def server_context(options: ServerTls) -> ssl.SSLContext:
    """Make the context of a listener.

    Raises:
        ConfigurationError: a file is no certificate, or not its key; keys as in `ssl_options`.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _apply(context, options)
    if options.verify == "verify_peer":
        required = options.fail_if_no_peer_cert
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def client_context(options: ClientTls) -> ssl.SSLContext:
    """Make the context of a link's connections; which name to expect is `server_name`.

    Raises:
        ConfigurationError: a file is no certificate, or not its key; keys as in `ssl`.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = (
        options.verify == "verify_peer" and options.server_name_indication != "disable"
    )
    if options.verify == "verify_none":
        context.verify_mode = ssl.CERT_NONE
    elif options.cacertfile is None:
        context.load_default_certs()
    _apply(context, options)
    return context


def server_name(options: ClientTls, host: str) -> str:
    """Name to send as SNI and to expect in the server's certificate."""
    wanted = options.server_name_indication
    return host if wanted in (None, "disable") else str(wanted)


def common_name(certificate: dict[str, object] | None) -> str | None:
    """Return the common name of what `getpeercert()` gives; None without a verified certificate."""
    subject = (certificate or {}).get("subject", ())
    if not isinstance(subject, tuple):
        return None
    names = [value for rdn in subject for key, value in rdn if key == "commonName"]
    return str(names[-1]) if names else None


def check(settings: Settings) -> None:
    """Make every context once.

    Raises:
        ConfigurationError: with every mistake, keys as in the configuration.

    """
    mistakes = list(_mistakes(settings))
    if mistakes:
        raise ConfigurationError(mistakes)


def _mistakes(settings: Settings) -> Iterator[Mistake]:
    file = str(settings.path or "")
    for number, link in enumerate(settings.cluster.links):
        if link.tls:
            yield from _wrong(f"cluster.links[{number}].ssl", link.ssl, file)
    for name, listener in settings.listeners.enabled().items():
        options = getattr(listener, "ssl_options", None)
        if options is not None:
            yield from _wrong(f"listeners.{name.replace(':', '.', 1)}.ssl_options", options, file)


def _wrong(key: str, options: TlsSettings, file: str) -> Iterator[Mistake]:
    try:
        if isinstance(options, ServerTls):
            server_context(options)
        elif isinstance(options, ClientTls):
            client_context(options)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            yield Mistake(f"{key}.{mistake.key}", mistake.message, file)


def _apply(context: ssl.SSLContext, options: TlsSettings) -> None:
    versions = sorted(_VERSIONS[version] for version in options.versions)
    context.minimum_version, context.maximum_version = versions[0], versions[-1]
    if options.certfile is not None and options.keyfile is not None:
        secret = options.password
        # Without a callback, OpenSSL would ask at the terminal for the password of a key.
        password = "" if secret is None else secret.get_secret_value()
        try:
            context.load_cert_chain(options.certfile, options.keyfile, lambda: password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise _refused("certfile", options.certfile, options.keyfile, error) from error
    if options.cacertfile is not None:
        try:
            context.load_verify_locations(options.cacertfile)
        except (ssl.SSLError, OSError) as error:
            raise _refused("cacertfile", options.cacertfile, None, error) from error


def _refused(key: str, file: object, keyfile: object, error: Exception) -> ConfigurationError:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    pair = f' with keyfile "{keyfile}"' if keyfile else ""
    return ConfigurationError([Mistake(key, f'"{file}"{pair} can\'t be used: {reason}')])
