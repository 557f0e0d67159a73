"""The log: level, format and file as the settings say, and no flood of equal lines.

Parts log through structlog; what a line says is theirs. Lines that others can cause at will
(warnings, by the same event) are limited: a thousand wrong clients are a few lines and a count.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from isthmus_broker.errors import ConfigurationError, Mistake
from isthmus_broker.settings import LogSettings

BURST: Final = 20
"""Lines of one event within `PERIOD` that are written."""
PERIOD: Final = 10.0
"""Seconds."""


class Limit:
    """Drops warnings of one event beyond `BURST` in a period; the next one tells how many."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seen: dict[str, tuple[float, int]] = {}

    def __call__(self, _logger: WrappedLogger, name: str, line: EventDict) -> EventDict:
        """Pass a line on, or drop it."""
        if name != "warning":
            return line
        event = str(line.get("event"))
        now = self._now()
        start, count = self._seen.get(event, (now, 0))
        if now - start >= PERIOD:
            if count > BURST:
                line["not_shown"] = count - BURST
            start, count = now, 0
        self._seen[event] = start, count + 1
        if count >= BURST:
            raise structlog.DropEvent
        return line


class Log:
    """Where lines go; `apply` may be called again with other settings."""

    def __init__(self) -> None:
        self._file: TextIO | None = None
        self._path: Path | None = None
        self._limit = Limit(time.monotonic)

    def apply(self, settings: LogSettings) -> None:
        """Log as `settings` say from now on.

        Raises:
            ConfigurationError: the file can't be written; nothing has changed.
        """
        before = self._file
        if settings.file != self._path:
            self._file, self._path = _opened(settings.file), settings.file
        stream = self._file or sys.stderr
        structlog.configure(
            processors=_processors(settings, stream, self._limit),
            wrapper_class=structlog.make_filtering_bound_logger(
                logging.getLevelNamesMapping()[settings.level.upper()]
            ),
            logger_factory=structlog.WriteLoggerFactory(stream),
            cache_logger_on_first_use=False,
        )
        if before is not None and before is not self._file:
            before.close()


def _opened(path: Path | None) -> TextIO | None:
    if path is None:
        return None
    try:
        return path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        message = f"{path} can't be written: {error.strerror}"
        raise ConfigurationError([Mistake("log.file", message)]) from error


def _processors(settings: LogSettings, stream: TextIO, limit: Limit) -> list[Processor]:
    common: list[Processor] = [limit, structlog.processors.add_log_level]
    if settings.format == "json":
        return [
            *common,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    return [
        *common,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        ),
    ]
