"""What goes in and out where portfolios and accounts are opened, value is entered by hand, and entries are taken back."""

from typing import Annotated, Literal

from pydantic import Field, RootModel

from api.http.schemas import Answer, EventAnswer, Request, TradeAnswer
from ledger.entries.kinds import AnyEntry
from ledger.events.fields import Name, Text
from ledger.values import Asset, Money, UtcTime


class NewAccount(Request):
    """A place where assets are held. `mode` is paper (nothing real is behind it) or live."""

    account: Name
    venue: Name
    mode: Literal["paper", "live"]


class NewPortfolio(Request):
    """A portfolio to open. With `allow_short` a sale of more than is held opens short lots."""

    name: Name
    base_currency: Asset
    allow_short: bool = False
    accounts: Annotated[tuple[NewAccount, ...], Field(max_length=100)] = ()


class NewEntry(RootModel[Annotated[AnyEntry, Field(discriminator="kind")]]):
    """One entry; `kind` says which."""


class NewReversal(Request):
    """Why what is taken back was wrong."""

    reason: Annotated[Text, Field(min_length=1)]


class EntryAnswer(Answer):
    """The event that was recorded; of a trade also the trade."""

    event: EventAnswer
    trade: TradeAnswer | None


class ReversalAnswer(Answer):
    """What was taken back (of a trade also the trade), and the event that took it back."""

    event: EventAnswer
    trade: TradeAnswer | None
    reversal: EventAnswer


class BalanceAnswer(Answer):
    asset: str
    quantity: Money


class AccountAnswer(Answer):
    """An account and what lies in it, asset by asset; null where its opening is not known."""

    account: str
    venue: str | None
    mode: str | None
    opened_at: UtcTime | None
    balances: list[BalanceAnswer]
