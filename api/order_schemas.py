"""What goes in and out where orders are ended and differences explained."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import StringConstraints

from api.schemas import Answer, Request
from ledger.event_parts import Text
from ledger.values import UtcTime

Reason = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]


class Cancellation(Request):
    """The wish that an order end."""

    reason: Text = ""


class Resolution(Request):
    """What became of an order of unknown outcome, and how that is known."""

    outcome: Literal["not_placed", "cancelled"]
    reason: Reason


class Explanation(Request):
    """Why ledger and venue did not agree."""

    reason: Reason


class DifferenceAnswer(Answer):
    difference_id: UUID
    position: int
    account: str
    venue: str
    subject: str
    ledger: str
    venue_says: str
    found_at: UtcTime
    status: str
    reason: str
