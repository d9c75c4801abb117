"""Reasons why an entry, a reversal or an account cannot be recorded. None of them leaves anything stored."""

from uuid import UUID

from ledger.errors import CannotRecord


class ViewsStopped(CannotRecord):
    """The portfolio's views have stopped, so nothing can be checked against them."""

    kind = "views-stopped"


class NotBookable(CannotRecord):
    """The event would break a rule of booking or stop the views."""

    kind = "not-bookable"


class FutureTime(CannotRecord):
    """The entry happened after the portfolio's present."""

    kind = "future-time"


class TooEarly(CannotRecord):
    """The entry is dated before `EARLIEST`."""

    kind = "too-early"


class PortfolioIsClosed(CannotRecord):
    """The portfolio was closed before the entry happened."""

    kind = "portfolio-closed"


class UnknownAccount(CannotRecord):
    """The entry names an account that is not open. Extra: `accounts`, the open ones."""

    kind = "unknown-account"

    def __init__(self, detail: str, accounts: list[str]) -> None:
        super().__init__(detail, accounts=accounts)


class UnknownTrade(CannotRecord):
    """The fee names a trade that the portfolio does not hold."""

    kind = "unknown-trade"


class TradeExists(CannotRecord):
    """The fill is recorded already. Extra: `trade_id`."""

    kind = "trade-exists"

    def __init__(self, detail: str, trade_id: UUID) -> None:
        super().__init__(detail, trade_id=str(trade_id))


class NoSuchEvent(CannotRecord):
    """There is no event to reverse."""

    kind = "unknown-event"


class AlreadyReversed(CannotRecord):
    """The event was reversed before. Extra: `reversed_by`."""

    kind = "already-reversed"

    def __init__(self, detail: str, reversed_by: UUID) -> None:
        super().__init__(detail, reversed_by=str(reversed_by))


class NotReversible(CannotRecord):
    """The event moves no value."""

    kind = "not-reversible"


class ReservedName(CannotRecord):
    """The portfolio's name is reserved for a market."""

    kind = "reserved-name"


class PortfolioExists(CannotRecord):
    """A portfolio of this name exists."""

    kind = "portfolio-exists"


class AccountExists(CannotRecord):
    """An account of this name exists."""

    kind = "account-exists"


class AccountTwice(CannotRecord):
    """Two accounts of a new portfolio have the same name."""

    kind = "account-exists"
