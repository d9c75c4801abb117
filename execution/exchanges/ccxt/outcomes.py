"""What a failed attempt to place an order proves: that it was refused, that its id exists already, or nothing.

Only what is on the list is a refusal, and only together with a look-up that finds nothing: brokers have answered with
an error for orders they had placed.
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
    """What the error means when it was raised while an order was placed; `status` is that of the HTTP answer."""
    if status is not None and status >= 500:
        return "unknown"  # the venue itself does not know, whatever class its client makes of the code
    if isinstance(error, ccxt.DuplicateOrderId):
        return "duplicate"
    if isinstance(error, _NO_REFUSALS):
        return "unknown"
    if isinstance(error, _LIMITS):
        return "refused" if status in _TOO_MANY else "unknown"
    return "refused" if isinstance(error, _REFUSALS) else "unknown"


def one_line(error: Exception) -> str:
    """The error's text in one line of at most 500 characters, without what stands in the query of an address."""
    text = re.sub(r"\?\S*", "", " ".join(str(error).split()))
    return text[:500] or type(error).__name__
