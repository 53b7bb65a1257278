"""Structured logs: one line an event, with the service, the instance and, where there is one, the request id."""

from __future__ import annotations

import logging
import sys

from sage_common.quick_imports import imports_without
from sage_common.repeat_limit import RepeatLimit
from sage_common.service_settings import LogSettings

# structlog would have tracebacks in colours of it, and load a hundred modules for them: a sixth of a service's start.
with imports_without("rich"):
    import structlog


def configure_logging(settings: LogSettings, *, service: str, instance: str) -> None:
    """Send structlog and standard logging to stderr in one form. Call once, from ``main``.

    A warning or an error that comes again and again is written once in ``settings.repeat_seconds``, with its count.
    """
    level = getattr(logging, settings.level.upper())
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ]
            if not console
            else [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(RepeatLimit(settings.repeat_seconds, handler.emit))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    structlog.contextvars.bind_contextvars(service=service, instance=instance)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger; ``log.info("what happened", request_id=…)``."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
