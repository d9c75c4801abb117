"""Logs: JSON lines to a file-like place, people's lines to a terminal, never a secret."""

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
    """Everything logged from now on, by us or by a library, goes to standard error, in UTC and with secrets masked."""
    colourful = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            mask_secrets,
            structlog.processors.format_exc_info,  # plain: a traceback with its variables would show what it handled
            structlog.dev.ConsoleRenderer() if colourful else structlog.processors.JSONRenderer(ensure_ascii=False),
            _without_hidden,
        ],
        logger_factory=lambda *_names: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_FromLibraries()], force=True)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # what an undone transaction leaves behind is no news
    stamina.instrumentation.set_on_retry_hooks([])  # a read that is tried again is no news; the last failure is told
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # our own scheduler tells of failures, once each


def hide(secret: str) -> None:
    """The secret's text appears in no log line from now on, wherever it stands. One of five letters is a word."""
    if len(secret) >= _SHORTEST_SECRET:
        _hidden.add(secret)


def mask_secrets(_logger: object, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The line with the value of every field named like a secret replaced."""
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
    """What libraries log through the standard library becomes lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        line = structlog.get_logger()
        line.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
