"""Structured logs: one line an event, with the service, the instance and, where there are any, the ids of the
request and its trace."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from sage_common.quick_imports import imports_without
from sage_common.trace_context import current_traceparent, trace_fields

if TYPE_CHECKING:
    import structlog

    from sage_common.service_settings import LogSettings

_BELOW_ERRORS = frozenset({"debug", "info", "warning"})
# structlog would have tracebacks in colours of it, and load a hundred modules for them: a sixth of a service's start.
_UNWANTED_BY_STRUCTLOG = "rich"


def configure_logging(settings: LogSettings, *, service: str, instance: str) -> None:
    """Send structlog and standard logging to stderr in one form. Call once, from ``main``.

    A warning or an error that comes again and again is written once in ``settings.repeat_seconds``, with its count.
    """
    with imports_without(_UNWANTED_BY_STRUCTLOG):
        import structlog

    from sage_common.repeat_limit import RepeatLimit

    _LoggerOnUse.configure = None
    level = getattr(logging, settings.level.upper())
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
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


def log_errors_only(*, service: str) -> None:
    """Leave out what is below an error. Set up as ``configure_logging`` does with the first error, if there is one."""

    def configure() -> None:
        from sage_common.service_settings import LogSettings

        configure_logging(LogSettings(level="error", format="console"), service=service, instance=service)

    _LoggerOnUse.configure = configure
    root = logging.getLogger()
    root.handlers[:] = [_FirstError(configure)]
    root.setLevel(logging.ERROR)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger; ``log.info("what happened", request_id=…)``."""
    return cast("structlog.stdlib.BoundLogger", _LoggerOnUse(name))


class _LoggerOnUse:
    """Loads structlog with the first event: a command that logs nothing would spend a tenth of its start on it.

    Attributes:
        configure: sets logging up for the first error; None where it is set up, or is to stay as it is.
    """

    configure: ClassVar[Callable[[], None] | None] = None

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger: Any = None

    def __getattr__(self, method: str) -> Any:
        configure = _LoggerOnUse.configure
        if configure is not None:
            if method in _BELOW_ERRORS:
                return _ignore
            configure()
        if self._logger is None:
            with imports_without(_UNWANTED_BY_STRUCTLOG):
                import structlog

            self._logger = structlog.get_logger(self._name)
        return getattr(self._logger, method)


class _FirstError(logging.Handler):
    """Takes the first error of the standard library's loggers, and has the handler write it that is there then."""

    def __init__(self, configure: Callable[[], None]) -> None:
        super().__init__(logging.ERROR)
        self._configure = configure

    def emit(self, record: logging.LogRecord) -> None:
        self._configure()
        for handler in logging.getLogger().handlers:
            handler.handle(record)


def _add_trace(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Name the trace that an event belongs to, where the event does not say."""
    if (traceparent := current_traceparent()) and "trace_id" not in event:
        event.update(trace_fields(traceparent))
    return event


def _ignore(*_: object, **__: object) -> None:
    """Stand for an event that nobody is to see."""
