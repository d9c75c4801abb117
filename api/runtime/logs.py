"""Logs on standard error: coloured lines on a terminal, JSON lines elsewhere, secrets masked."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import stamina
import structlog

SECRET_NAMES: Final = ("token", "secret", "password", "authorization", "api_key", "database_url")
_SHORTEST_SECRET: Final = 6
_hidden: set[str] = set()


def configure_logs() -> None:
    """Send all logs, those of libraries too, to standard error, with UTC times and masked secrets."""
    colourful = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            mask_secrets,
            structlog.processors.format_exc_info,  # plain: variables in a traceback could show secrets
            structlog.dev.ConsoleRenderer() if colourful else structlog.processors.JSONRenderer(ensure_ascii=False),
            _without_hidden,
        ],
        logger_factory=lambda *_names: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_FromLibraries()], force=True)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # rolled-back transactions are routine
    stamina.instrumentation.set_on_retry_hooks([])  # retried reads are routine; the last failure is logged
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # our scheduler logs each failure once


def hide(secret: str) -> None:
    """Mask this text in all log lines from now on. Texts of five characters or fewer are not masked: they may be words."""
    if len(secret) >= _SHORTEST_SECRET:
        _hidden.add(secret)


def mask_secrets(_logger: object, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask the value of every field named like a secret."""
    for name in line:
        if any(secret in name.lower() for secret in SECRET_NAMES):
            line[name] = "…"
    return line


def _without_hidden(_logger: object, _name: str, line: Any) -> str:
    text = str(line)
    for secret in _hidden:
        text = text.replace(secret, "…")
    return text


class _FromLibraries(logging.Handler):
    """Formats log records of libraries like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        line = structlog.get_logger()
        line.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
