"""Logs are events: a static name and fields; what is bound to a request or a task is on every line of it.

Foreign loggers (uvicorn, Celery, SQLAlchemy) come out in the same form, and secrets are masked on the way.
"""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from tidewheel.kit.masks import mask_secrets
from tidewheel.kit.settings import Settings

_REQUEST_ID = "request_id"
_QUIET = ("httpx", "httpcore", "urllib3", "asyncio", "kombu", "amqp", "alembic")


def configure(settings: Settings, role: str | None = None) -> None:
    """Send this process's events to standard error, as LOG_FORMAT and LOG_LEVEL say."""
    process = {"role": role or settings.role, "instance": settings.instance}

    def name_process(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**process, **event}  # not a context variable: threads that a library starts would not inherit it

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        name_process,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        mask_event,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: Any = (
        structlog.processors.JSONRenderer(default=str)
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def mask_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask secrets in every text of an event, also inside lists, mappings and tracebacks."""
    return {key: _masked(value) for key, value in event.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(inner) for inner in value]
    return mask_secrets(str(value)) if isinstance(value, str | BaseException) else value


@contextmanager
def silenced() -> Iterator[None]:
    """Let only critical events of ours out while the block lasts: for commands that show something else."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def quieten(name: str) -> None:
    """Let only critical events of a foreign logger through."""
    logging.getLogger(name).setLevel(logging.CRITICAL)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module; call it with `__name__`."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


def request_id() -> str:
    """The id of the request or message being handled, or an empty string."""
    return str(structlog.contextvars.get_contextvars().get(_REQUEST_ID, ""))
