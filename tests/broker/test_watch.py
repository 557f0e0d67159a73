"""Changed files are noticed, also swapped in by symlink as Kubernetes does."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from isthmus_broker.net.watch import Signature, Watched, signature, watch


def test_each_change_is_told_once() -> None:
    looks: dict[Path, Signature] = {Path("a"): ("a", 1, 1, 1), Path("b"): None}
    watched = Watched(looks, looks.get)
    assert watched.changed() == []
    looks[Path("a")] = ("a", 1, 2, 1)
    looks[Path("b")] = ("b", 1, 1, 1)
    assert watched.changed() == [Path("a"), Path("b")]
    assert watched.changed() == []
    looks[Path("a")] = None
    assert watched.changed() == [Path("a")]


def test_files_watched_before_keep_their_state() -> None:
    looks: dict[Path, Signature] = {Path("a"): None, Path("b"): None}
    watched = Watched([Path("a")], looks.get)
    looks[Path("a")] = ("a", 1, 1, 1)
    watched.watch([Path("a"), Path("b")])
    assert watched.changed() == [Path("a")]
    watched.watch([Path("b")])
    looks[Path("a")] = None
    assert watched.changed() == []


def test_a_swapped_directory_link_changes_its_files(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "broker.conf").write_text(version)
    data = tmp_path / "..data"
    data.symlink_to("v1")
    config = tmp_path / "broker.conf"
    config.symlink_to("..data/broker.conf")
    watched = Watched([config])
    new = tmp_path / "..data_tmp"
    new.symlink_to("v2")
    new.rename(data)
    assert watched.changed() == [config]
    assert config.read_text() == "v2"


def test_signature_of_nothing(tmp_path: Path) -> None:
    assert signature(tmp_path / "nope") is None
    (tmp_path / "loop").symlink_to("loop")
    assert signature(tmp_path / "loop") is None


async def test_changes_that_come_together_are_told_together(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_text("1")
    told: asyncio.Queue[list[Path]] = asyncio.Queue()
    task = asyncio.create_task(watch(Watched(files), told.put, interval=0.01))
    for file in files:
        file.write_text("22")
    assert sorted(await asyncio.wait_for(told.get(), 5)) == files
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert told.empty()
