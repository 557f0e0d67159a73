"""Where things are: what is built once in a cache, and a folder for each cluster.

Nothing of it is in the checkout, so that a fresh one finds what another has built.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent
"""This package: modules of Go programs and recipes of images are in its folders."""

CHECKOUT: Final = PACKAGE.parent.parent


def cache() -> Path:
    """The cache of everything that takes long to make: `$XDG_CACHE_HOME/isthmus`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isthmus"


def clusters() -> Path:
    """The folder that has one for each cluster; `ISTHMUS_CLUSTERS` names another."""
    return Path(os.environ.get("ISTHMUS_CLUSTERS") or cache() / "clusters")


def locks() -> Path:
    """The folder of files to lock; locks stay when what they guard goes."""
    return cache() / "locks"
