"""One route operation, the word that both directions of a link share.

How it is encoded is `link.payload`'s business, which ones to send `link.exports`', and what
becomes of those received `link.imports`'.
"""

from __future__ import annotations

from typing import NamedTuple


class RouteOp(NamedTuple):
    """Adds or deletes one route: `filter` is asked for, `id` tells routes of one filter apart."""

    filter: bytes
    id: bytes
    delete: bool = False
