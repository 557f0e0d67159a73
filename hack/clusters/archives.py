"""Writes an image of one program as an archive, as `docker save` does; nothing is needed for it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path


def write(archive: Path, tag: str, program: Path, architecture: str) -> None:
    """Write an image that has nothing but a static program, and runs it as nobody.

    Args:
        archive: the file to write.
        tag: the image's name.
        program: its one file.
        architecture: as Go names it.
    """
    layer = _tar({program.name: program.read_bytes()})
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"], "User": "65534:65534"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    named = f"{_digest(config).partition(':')[2]}.json"
    manifest = json.dumps([{"Config": named, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    files = {named: config, "layer.tar": layer, "manifest.json": manifest}
    new = archive.with_suffix(".new")
    new.write_bytes(_tar(files))
    new.replace(archive)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
