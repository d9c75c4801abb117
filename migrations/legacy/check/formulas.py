"""The five profit figures of the legacy system, reproduced exactly (`docs/migrate.md` lists the formulas).

They are calculated in floats, as there, and in decimals, which isolates rounding.
"""

from collections import deque
from decimal import Decimal
from typing import Final, Generic, Literal, NamedTuple, TypeVar

N = TypeVar("N", float, Decimal)

Measure = Literal["realized", "unrealized", "total", "open_cost"]
MEASURES: Final[dict[str, Measure]] = {
    "cash_flow": "realized",
    "fifo": "realized",
    "fifo_unrealized": "unrealized",
    "tranches": "total",
    "sql_net": "open_cost",
}
"""Each formula, and the corresponding figure of the ledger."""
HEADLINE: Final = "fifo"
"""The formula that the legacy system displayed as profit."""


class Trade(NamedTuple, Generic[N]):
    """Input of the formulas. `usd` is the value of the trade; `bot` is True if a bot owns it."""

    buy: bool
    size: N
    usd: N
    price: N
    fee: N
    bot: bool


class Formulas(Generic[N]):
    """All formulas over one product's trades, in the given order.

    cash_flow: sells - buys - fees of all completed or filled rows. The others count only rows with status `filled` and an
    upper-case side. fifo: without fees; whole lots at their USD value, parts at price * size; sales beyond known buys are
    dropped. fifo_unrealized: open size * (last price - average of all buys). tranches: sells - buys of bot trades, plus the
    rest at the last price. sql_net: net size * average buy price.
    """

    def __init__(self, zero: N, *, botless: bool = False) -> None:
        self._botless = botless
        self._lots: deque[Trade[N]] = deque()
        self._zero: N = zero
        self._head_size: N = zero  # open part of the first lot
        self._head_usd: N = zero
        self._cash: N = zero
        self._realized: N = zero
        self._last: N = zero
        self._bought: N = zero
        self._bought_usd: N = zero
        self._prices: N = zero
        self._net: N = zero
        self._tranche_cash: N = zero
        self._tranche_net: N = zero
        self._buys = 0

    def add(self, trade: Trade[N], *, strict: bool = True) -> None:
        """Add the next trade. Unless `strict`, only the cash flow counts it."""
        sign = 1 if trade.buy else -1
        self._cash = self._cash - sign * trade.usd - trade.fee
        if not strict:
            return
        self._last = trade.price
        self._net = self._net + sign * trade.size
        if trade.bot or self._botless:
            self._tranche_cash = self._tranche_cash - sign * trade.usd
            self._tranche_net = self._tranche_net + sign * trade.size
        if trade.buy:
            self._buys += 1
            self._prices = self._prices + trade.price
            self._bought = self._bought + trade.size
            self._bought_usd = self._bought_usd + trade.usd
            if trade.size > 0:
                self._push(trade)
        else:
            self._sell(trade)

    def results(self) -> dict[str, N]:
        """Return the figure of each formula."""
        average = self._bought_usd / self._bought if self._bought else self._zero
        mean = self._prices / self._buys if self._buys else self._zero
        return {
            "cash_flow": self._cash,
            "fifo": self._realized,
            "fifo_unrealized": self._open() * (self._last - average),
            "tranches": self._tranche_cash + self._tranche_net * self._last,
            "sql_net": self._net * mean,
        }

    def _push(self, trade: Trade[N]) -> None:
        if not self._lots:
            self._head_size, self._head_usd = trade.size, trade.usd
        self._lots.append(trade)

    def _open(self) -> N:
        """Return the open size, summed lot by lot as the legacy system did."""
        left = self._zero
        for place, lot in enumerate(self._lots):
            left = left + (lot.size if place else self._head_size)
        return left

    def _sell(self, trade: Trade[N]) -> None:
        left = trade.size
        while left > 0 and self._lots:
            if self._head_size > left:
                self._realized = self._realized + (trade.price - self._lots[0].price) * left
                self._head_size = self._head_size - left
                self._head_usd = self._head_usd - self._lots[0].price * left
                return
            self._realized = self._realized + (trade.price * self._head_size - self._head_usd)
            left = left - self._head_size
            self._lots.popleft()
            if self._lots:
                self._head_size, self._head_usd = self._lots[0].size, self._lots[0].usd
