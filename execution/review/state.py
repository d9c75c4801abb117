"""The state: the state we decide with. The ledger's own rows, read at one position; nothing is remembered beside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ledger.projections.book import Reading
from ledger.projections.orders import OrderView
from ledger.projections.policy import halt_reason, limit_of, minutes
from ledger.projections.portfolio import AccountView, Balance, PortfolioView
from ledger.projections.signals import OpinionView
from ledger.projections.valuation import Mark
from ledger.rows import Rows
from ledger.values import ZERO, Instrument


@dataclass(frozen=True, slots=True)
class DecisionState:
    """Rows at `position` and the time at which we decide. `stopped` is why the rows lag behind the log, if they do."""

    rows: Rows
    position: int
    now: datetime
    stopped: str | None

    @classmethod
    def of(cls, reading: Reading, now: datetime) -> "DecisionState":
        """The state that `reading` shows, at the time `now`."""
        stopped = reading.stopped
        why = None if stopped is None else f"views stopped at position {stopped.position}: {stopped.reason}"
        return cls(reading.rows, reading.position, now, why)

    @property
    def base_currency(self) -> str:
        return next(self.rows.where(PortfolioView)).base_currency

    @property
    def halted(self) -> str | None:
        """Why nothing may be traded now, or None."""
        return self.stopped or halt_reason(self.rows)

    def limit(self, name: str) -> Decimal:
        return limit_of(self.rows, name)

    def window(self, name: str) -> timedelta:
        """The limit called `name`, which is in minutes, to the microsecond; at most `LONGEST`."""
        return minutes(self.limit(name))

    def account(self, name: str) -> AccountView | None:
        return self.rows.get(AccountView, name)

    def first_account(self) -> AccountView | None:
        """The account used when none is named: the one opened first, of the paper ones if there are any."""
        accounts = self.rows.where(AccountView)
        return min(accounts, key=lambda one: (one.mode != "paper", one.opened_at, one.account), default=None)

    def balance(self, account: str, asset: str) -> Decimal:
        found = self.rows.get(Balance, asset, account)
        return found.quantity if found else ZERO

    def mark(self, instrument: Instrument) -> Mark | None:
        return self.rows.get(Mark, str(instrument))

    def opinion(self, bot_id: str, instrument: str) -> OpinionView | None:
        return self.rows.get(OpinionView, bot_id, instrument)

    def open_orders(self, instrument: str | None = None) -> Iterator[OrderView]:
        """Orders that have not ended, of one instrument or of all."""
        return (one for one in self.rows.where(OrderView) if instrument is None or one.instrument == instrument)

    def available(self, account: str, asset: str, fee_rate: Decimal) -> Decimal:
        """The balance less what open orders (also those of unknown outcome) may still take of it, fees included."""
        return self.balance(account, asset) - sum(
            (self._reserved(one, account, asset, fee_rate) for one in self.open_orders()), ZERO
        )

    def _reserved(self, order: OrderView, account: str, asset: str, fee_rate: Decimal) -> Decimal:
        instrument = Instrument(order.instrument)
        if order.account != account or asset not in (instrument.base, instrument.quote):
            return ZERO
        price = order.limit_price or order.stop_price or self._price(instrument)
        if order.side == "sell" and asset == instrument.base:
            size = order.base_size if order.base_size is not None else (order.quote_size or ZERO) / price
            return max(size - order.filled_quantity, ZERO)
        if order.side == "buy" and asset == instrument.quote:
            size = order.quote_size if order.quote_size is not None else (order.base_size or ZERO) * price
            return max(size - order.filled_value, ZERO) * (1 + fee_rate)
        return ZERO

    def _price(self, instrument: Instrument) -> Decimal:
        mark = self.mark(instrument)
        return mark.price if mark else Decimal(1)
