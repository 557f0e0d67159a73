"""A cluster's certificates, made by openssl: one CA, and what it signs.

Everything in a cluster knows everything else by them, as in a real one; nobody skips verification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clusters import commands

_DAYS: Final = "3650"
_KEY: Final = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """The CA of a cluster; what it signs is in its folder, made once."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """The CA's own certificate."""
        return self.folder / "ca.crt"

    def ensure(self) -> None:
        """Make the CA and the key that signs service accounts' tokens, where they are not there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if not self.certificate.exists():
            self._make("ca", "/CN=isthmus-test-ca", ["-addext", "keyUsage=critical,keyCertSign"])
        if not self.token_key.exists():
            new = self.folder / "tokens.new"
            commands.run(["openssl", "genrsa", "-out", new, "2048"])
            new.rename(self.token_key)

    @property
    def token_key(self) -> Path:
        """The key that signs service accounts' tokens."""
        return self.folder / "tokens.key"

    def identity(self, name: str, subject: str, hosts: Sequence[str] = ()) -> Identity:
        """A certificate for a client, or with `hosts` (`DNS:...`, `IP:...`) for a server too.

        Args:
            name: of its files.
            subject: as openssl writes it, such as `/O=system:masters/CN=admin`.
            hosts: what a server is called.
        """
        identity = Identity(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        if not identity.certificate.exists():
            extensions = [
                "-addext", "basicConstraints=critical,CA:FALSE",
                "-addext", "extendedKeyUsage=clientAuth" + (",serverAuth" if hosts else ""),
            ]  # fmt: skip
            if hosts:
                extensions += ["-addext", f"subjectAltName={','.join(hosts)}"]
            signer = ["-CA", str(self.certificate), "-CAkey", str(self.folder / "ca.key")]
            self._make(name, subject, [*extensions, *signer])
        return identity

    def _make(self, name: str, subject: str, arguments: Sequence[str]) -> None:
        key, new = self.folder / f"{name}.key", self.folder / f"{name}.new"
        files = ["-keyout", str(key), "-out", str(new)]
        request = ["openssl", "req", "-x509", *_KEY, *files, "-days", _DAYS, "-subj", subject]
        commands.run([*request, *arguments])
        new.rename(self.folder / f"{name}.crt")
