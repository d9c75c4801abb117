"""Logs: JSON lines to a file-like place, people's lines to a terminal, never a secret."""

import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

SECRET_NAMES = ("token", "secret", "password", "authorization", "api_key", "database_url")


def configure_logs() -> None:
    """Everything logged from now on goes to standard error, with UTC times and secrets masked."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            mask_secrets,
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def mask_secrets(_logger: object, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The line with the value of every field named like a secret replaced."""
    for name in line:
        if any(secret in name.lower() for secret in SECRET_NAMES):
            line[name] = "…"
    return line
