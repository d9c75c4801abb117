"""A portfolio as text for beancount (version 3), whose booking gives the same lots and gains.

Beancount stores unit costs; every lot here states its total cost and is closed by its label, so that no unit cost is
rounded and no lot is ambiguous. Each match has its own income posting. All money has 18 decimals; the tolerance is
10^-12, more only where amounts have more than ten integer digits, because beancount computes with 28 digits in all.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from ledger.booking.legs import MOVING, AssetMove, moves_of
from ledger.booking.lots import Booking, Leg, Lot, Match, Split
from ledger.errors import DaybookError
from ledger.events import IncomeReceived, SplitRecorded
from ledger.log.envelope import Envelope
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import PortfolioView, portfolio_of
from ledger.projections.reversals import Reversal
from ledger.reports.lot_methods import bookings_of
from ledger.rows import Key, Rows, key_of
from ledger.values import ZERO, decimal_text, time_text

CASH: Final = "Assets:Cash"
HOLDINGS: Final = "Assets:Holdings"
OUTSIDE: Final = "Equity:Contributions"
FEES: Final = "Expenses:Fees"
GAINS: Final = "Income:Gains"
UNMATCHED: Final = "Income:Unmatched"
UNKNOWN_COST: Final = "Income:UnknownCost"
WORDS: Final = frozenset({"TRUE", "FALSE", "NULL"})
"""Names that beancount does not read as a commodity."""


class CannotExport(DaybookError):
    """Beancount cannot express something. The text names it."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One line of a transaction. `weight` is its value in base currency; the weights of a transaction add up to 0."""

    account: str
    amount: str
    weight: Decimal


def beancount_text(rows: Rows, envelopes: Iterable[Envelope]) -> Iterator[str]:
    """The lines of the ledger; `envelopes` are the portfolio's log. Raises CannotExport for a lot with a negative cost."""
    portfolio = portfolio_of(rows)
    counted = [one for one in envelopes if _counts(rows, one)]
    counted.sort(key=lambda one: (one.occurred_at, one.position))
    writer = _Writer(rows, portfolio.base_currency)
    entries = [(one, postings) for one in counted if (postings := writer.postings(one))]
    weights = [posting.weight for _, postings in entries for posting in postings]
    yield from _heading(portfolio, weights)
    accounts = sorted({posting.account for _, postings in entries for posting in postings})
    opened = min((one.occurred_at for one, _ in entries), default=portfolio.opened_at)
    for account in accounts:
        yield f"{_day(opened)} open {account}"
    for envelope, postings in entries:
        yield from _entry(envelope, postings)


def commodity(asset: str) -> str:
    """The asset as a beancount commodity: a name that it cannot read as one gets the prefix C-."""
    if asset[0].isdigit() or asset.endswith(".") or asset in WORDS:
        return f"C-{asset}-X" if asset.endswith(".") else f"C-{asset}"
    return asset


def _counts(rows: Rows, envelope: Envelope) -> bool:
    moving = isinstance(envelope.event, (*MOVING, SplitRecorded))
    return moving and rows.get(Reversal, envelope.event_id) is None


def _heading(portfolio: PortfolioView, weights: Sequence[Decimal]) -> Iterator[str]:
    digits = max((len(str(abs(int(weight)))) for weight in weights), default=1)
    yield f'option "title" "{_quoted(portfolio.name)}"'
    currency, allowed = commodity(portfolio.base_currency), max(6, digits - 8)
    yield f'option "operating_currency" "{currency}"'
    # The multiplier applies to the last of 18 decimals of stated money; a split states none and uses the default.
    yield f'option "tolerance_multiplier" "1{"0" * allowed}"'
    yield f'option "inferred_tolerance_default" "{currency}:{Decimal(1).scaleb(allowed - 18):f}"'
    yield ""


def _entry(envelope: Envelope, postings: Sequence[Posting]) -> Iterator[str]:
    assert sum((posting.weight for posting in postings), ZERO) == 0, f"{envelope.event_id} does not balance"
    yield ""
    yield f'{_day(envelope.occurred_at)} * "{envelope.type}" ^{envelope.event_id}'
    yield f'  time: "{time_text(envelope.occurred_at)}"'
    for posting in postings:
        yield f"  {posting.account}  {posting.amount}"


class _Writer:
    """Turns events into postings, in order of occurrence. Keeps the current label of each lot."""

    def __init__(self, rows: Rows, base_currency: str) -> None:
        self._base = base_currency
        self._legs: defaultdict[tuple[int, int], list[tuple[Leg, Booking]]] = defaultdict(list)
        self._splits: dict[int, tuple[Lot, ...]] = {}
        self._open: dict[Key, Lot] = {}
        self._renamed: defaultdict[Key, int] = defaultdict(int)
        for holding in rows.where(Holding):
            for item, booking in bookings_of(rows, holding.asset):
                if isinstance(item, Split):
                    self._splits[item.position] = booking.lots
                else:
                    self._legs[item.position, item.leg].append((item, booking))

    def postings(self, envelope: Envelope) -> list[Posting]:
        if isinstance(envelope.event, SplitRecorded):
            return list(self._split(self._splits.get(envelope.position, ())))
        found: list[Posting] = []
        for number, move in enumerate(moves_of(envelope.event, self._base)):
            if move.asset == self._base:
                found += self._cash(move, envelope)
            elif move.kind != "transfer":
                for leg, booking in self._legs[envelope.position, number]:
                    found += self._lots(leg, booking, envelope)
        return found

    def _cash(self, move: AssetMove, envelope: Envelope) -> Iterator[Posting]:
        if move.quantity and move.kind != "transfer":
            yield self._money(CASH, move.quantity)
            yield from self._outside(move.kind, move.quantity, envelope)

    def _lots(self, leg: Leg, booking: Booking, envelope: Envelope) -> Iterator[Posting]:
        """Postings of closed lots with their gains, of opened lots, and of value without a counterpart in a trade."""
        self._open |= {key_of(lot): lot for lot in booking.lots}
        moved = ZERO
        for match in booking.matches:
            lot = self._open[match.asset, match.opened_at, match.opening_position, match.opening_leg]
            yield self._closing(lot, match)
            yield from self._result(match)
            moved += match.proceeds if leg.quantity < 0 else -match.cost_basis
        for lot in booking.lots:
            if (lot.position, lot.leg) == (leg.position, leg.leg):
                yield self._opening(lot)
                moved += lot.cost if lot.short else -lot.cost
        if booking.unmatched and booking.unmatched.proceeds:
            yield self._money(UNMATCHED, -booking.unmatched.proceeds)
            moved += booking.unmatched.proceeds
        yield from self._outside(leg.kind, -moved, envelope)

    def _split(self, lots: Sequence[Lot]) -> Iterator[Posting]:
        """Close each lot at its cost and open it again with its day, its cost and a new label."""
        before = [self._open[key_of(lot)] for lot in lots]
        for lot in before:
            sign = 1 if lot.short else -1
            yield Posting(
                HOLDINGS, f"{self._units(lot, sign * lot.open_quantity)} {self._named(lot)}", sign * lot.open_cost
            )
        for lot in lots:
            self._open[key_of(lot)] = lot
            self._renamed[key_of(lot)] += 1
            yield self._opening(lot)

    def _closing(self, lot: Lot, match: Match) -> Posting:
        sign = 1 if match.short else -1
        weight = match.proceeds if match.short else -match.cost_basis
        return Posting(HOLDINGS, f"{self._units(lot, sign * match.quantity)} {self._named(lot)}", weight)

    def _opening(self, lot: Lot) -> Posting:
        if lot.cost < 0:
            raise CannotExport(
                f"the lot {lot.event_id} cost {decimal_text(lot.cost)}, below 0: beancount cannot express it"
            )
        sign = -1 if lot.short else 1
        cost = f'{{{{{self._amount(lot.cost)}, {_day(lot.opened_at)}, "{self._label(lot)}"}}}}'
        return Posting(HOLDINGS, f"{self._units(lot, sign * lot.quantity)} {cost}", sign * lot.cost)

    def _result(self, match: Match) -> Iterator[Posting]:
        """The exact gain; units of unknown cost post their whole proceeds to an account of their own."""
        account = GAINS if match.cost_known else UNKNOWN_COST
        if match.kind != "withdrawal":
            yield self._money(account, match.cost_basis - match.proceeds)

    def _outside(self, kind: str, value: Decimal, envelope: Envelope) -> Iterator[Posting]:
        """The counterpart of value received or sent without a trade; `value` is the portfolio's gain."""
        if kind in ("trade", "fee") or not value:
            return
        account = OUTSIDE
        if isinstance(envelope.event, IncomeReceived):
            account = f"Income:{envelope.event.kind.capitalize()}"
        elif kind == "expense":
            account = FEES
        yield self._money(account, -value)

    def _money(self, account: str, value: Decimal) -> Posting:
        return Posting(account, self._amount(value), value)

    def _amount(self, value: Decimal) -> str:
        return f"{value:.18f} {commodity(self._base)}"

    def _units(self, lot: Lot, quantity: Decimal) -> str:
        return f"{decimal_text(quantity)} {commodity(lot.asset)}"

    def _named(self, lot: Lot) -> str:
        return f'{{{_day(lot.opened_at)}, "{self._label(lot)}"}}'

    def _label(self, lot: Lot) -> str:
        """The event that opened the lot, and the number of splits since."""
        splits = self._renamed[key_of(lot)]
        return f"{lot.event_id}/{splits}" if splits else str(lot.event_id)


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
