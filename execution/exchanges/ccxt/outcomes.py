"""Outcomes of failed attempts to place an order: refused, duplicate id, or unknown.

Only listed errors are refusals, and only if a look-up finds nothing: brokers have replied with errors to orders that
they had placed.
"""

import re
from typing import Final, Literal

import ccxt

Meaning = Literal["refused", "duplicate", "unknown"]

_REFUSALS: Final = (
    ccxt.InsufficientFunds,
    ccxt.InvalidOrder,
    ccxt.BadRequest,
    ccxt.OperationRejected,
    ccxt.AuthenticationError,
    ccxt.InvalidNonce,
)
_NO_REFUSALS: Final = (ccxt.OrderNotFound, ccxt.ChecksumError)
_LIMITS: Final = (ccxt.RateLimitExceeded, ccxt.DDoSProtection)
_TOO_MANY: Final = (418, 429)


def meaning_of(error: Exception, status: int | None) -> Meaning:
    """Return the meaning of an error raised while placing an order; `status` is that of the HTTP response."""
    if status is not None and status >= 500:
        return "unknown"  # whatever exception class the client derives from the code
    if isinstance(error, ccxt.DuplicateOrderId):
        return "duplicate"
    if isinstance(error, _NO_REFUSALS):
        return "unknown"
    if isinstance(error, _LIMITS):
        return "refused" if status in _TOO_MANY else "unknown"
    return "refused" if isinstance(error, _REFUSALS) else "unknown"


def one_line(error: Exception) -> str:
    """Return the error's text in one line of at most 500 characters, without the query parts of URLs."""
    text = re.sub(r"\?\S*", "", " ".join(str(error).split()))
    return text[:500] or type(error).__name__
