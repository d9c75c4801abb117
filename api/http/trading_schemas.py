"""What goes in and out of the kill switch over HTTP."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.http.schemas import PRINTABLE, Answer, Request
from ledger.values import UtcTime

Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=PRINTABLE)]
"""Why a person did it: one line, kept in the log."""


class TradingReason(Request):
    """Why trading is halted or goes on."""

    reason: Reason


class TradingAnswer(Answer):
    """Whether trading is halted, since when, why and by whom; all three are null where it never was.

    `views_stopped` says why nothing is traded although trading is not halted: the views lag behind the log.
    """

    portfolio_id: UUID
    halted: bool
    reason: str | None
    since: UtcTime | None
    actor: str | None
    views_stopped: str | None
