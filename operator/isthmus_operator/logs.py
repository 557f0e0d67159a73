"""How the log looks: one line an event, JSON or text, ours and the libraries' alike."""

from __future__ import annotations

import logging
import sys

import structlog


class _Calm(logging.Filter):
    """A request of kopf's that it makes again is no error of anybody's yet: a warning."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything through."""
        if record.levelno == logging.ERROR and "will retry" in record.getMessage():
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def configure(level: str, form: str) -> None:
    """Set it up for the whole process; kopf is heard from warnings on."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    shown: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Calm())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                shown,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    noisy = logging.DEBUG if level == "debug" else logging.WARNING
    for name in ("kopf", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(noisy)
    logging.getLogger("kopf.objects").setLevel(noisy)
