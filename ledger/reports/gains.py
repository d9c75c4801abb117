"""Realised gains of a tax year: one line per match, with disposals of unknown cost listed separately."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from ledger.booking.lots import Leg, Match, UnmatchedDisposal
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import base_currency_of
from ledger.reports.lot_methods import (
    HOLDING_PERIOD_DAYS,
    Matched,
    Method,
    Term,
    acquisition_known,
    matched_by,
    opening_lots,
    term_of,
)
from ledger.rows import Rows
from ledger.values import ZERO, decimal_text, time_text

UNKNOWN: Final = "unknown"
COLUMNS: Final = (
    "section",
    "product_id",
    "kind",
    "quantity",
    "acquired",
    "disposed",
    "proceeds",
    "cost_basis",
    "gain",
    "term",
    "opening_trade_id",
    "closing_trade_id",
    "opened_by",
    "closed_by",
    "method",
)


@dataclass(frozen=True, slots=True)
class TaxYear:
    """A period from `start` to before `end`."""

    start: datetime
    end: datetime

    def has(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """A disposal of units of one lot, or of unmatched units, for which unknown fields are None.

    Money is in base currency. Short sales were disposed of before they were acquired.
    """

    product_id: str
    kind: str
    quantity: Decimal
    acquired: datetime | None = None
    disposed: datetime
    proceeds: Decimal
    cost_basis: Decimal | None = None
    gain: Decimal | None = None
    term: Term | None = None
    opening_trade_id: UUID | None = None
    closing_trade_id: UUID
    opened_by: str | None = None
    closed_by: str | None = None


@dataclass(frozen=True, slots=True)
class GainTotal:
    """Sums of the gains of one term."""

    term: Term
    proceeds: Decimal
    cost_basis: Decimal
    gain: Decimal


@dataclass(frozen=True, slots=True)
class GainsReport:
    """Gains with a known cost, and `unknown` ones, which are in no total; both in order of disposal."""

    method: Method
    gains: tuple[Gain, ...]
    unknown: tuple[Gain, ...]
    totals: tuple[GainTotal, ...]


def gains_report(
    rows: Rows,
    year: TaxYear | None = None,
    method: Method = Method.FIFO,
    holding_period_days: int = HOLDING_PERIOD_DAYS,
) -> GainsReport:
    """Return the gains realised within the year (None: ever), by the method.

    Withdrawals are at cost and not listed. A match belongs to the year in which it was closed: a short sale to the year of
    the purchase.
    """
    currency = base_currency_of(rows)
    found: list[tuple[tuple[object, ...], Gain]] = []
    for holding in rows.where(Holding):
        matched = _in_units_of_disposal(rows, matched_by(rows, holding.asset, method))
        opening = opening_lots(rows.history(Leg, holding.asset))
        found += _gains(f"{holding.asset}-{currency}", matched, year, holding_period_days, opening)
    in_order = [gain for _, gain in sorted(found, key=lambda one: one[0])]
    gains = tuple(gain for gain in in_order if gain.gain is not None)
    unknown = tuple(gain for gain in in_order if gain.gain is None)
    return GainsReport(method, gains, unknown, tuple(_totals(gains)))


def tax_year(year: int, month: int = 1, day: int = 1) -> TaxYear:
    """Return the UTC year that begins on this day of `year`. Raises ValueError for a day that some years lack."""
    return TaxYear(datetime(year, month, day, tzinfo=UTC), datetime(year + 1, month, day, tzinfo=UTC))


def gains_lines(report: GainsReport, names: Mapping[UUID, str]) -> Iterator[tuple[str, ...]]:
    """Yield the report as rows of text: COLUMNS, gains, unknown ones, totals.

    Trades are listed by their `names`, other events by event id.
    """
    yield COLUMNS
    for section, gains in (("gain", report.gains), ("unknown", report.unknown)):
        for one in gains:
            yield _line(section, one, report.method, names)
    for total in report.totals:
        yield _total_line(total, report.method)


def _gains(
    product_id: str,
    matched: Matched,
    year: TaxYear | None,
    holding_period_days: int,
    opening: Container[tuple[int, int]],
) -> Iterator[tuple[tuple[object, ...], Gain]]:
    """Yield each gain with its sort key."""
    for number, match in enumerate(matched.matches):
        if match.kind != "withdrawal" and (year is None or year.has(match.closed_at)):
            place = (match.closed_at, match.closing_position, match.closing_leg, 0, number)
            gain = _of_match(product_id, match, holding_period_days)
            yield place, gain if acquisition_known(match, opening) else replace(gain, acquired=None, term=None)
    for missing in matched.unmatched:
        if missing.kind != "withdrawal" and (year is None or year.has(missing.occurred_at)):
            yield (missing.occurred_at, missing.position, missing.leg, 1, 0), _of_unmatched(product_id, missing)


def _in_units_of_disposal(rows: Rows, matched: Matched) -> Matched:
    """Convert unmatched disposals to the units of their time, as in matches; the rows count units after later splits."""
    covered: dict[tuple[int, int], Decimal] = defaultdict(Decimal)
    for match in matched.matches:
        covered[match.closing_position, match.closing_leg] += match.quantity
    found: list[UnmatchedDisposal] = []
    for one in matched.unmatched:
        leg = rows.get(Leg, one.asset, one.occurred_at, one.position, one.leg)
        assert leg is not None, "each disposal has a leg"
        found.append(replace(one, quantity=-leg.quantity - covered[one.position, one.leg]))
    return replace(matched, unmatched=tuple(found))


def _of_match(product_id: str, match: Match, holding_period_days: int) -> Gain:
    acquired, disposed = (match.closed_at, match.opened_at) if match.short else (match.opened_at, match.closed_at)
    return Gain(
        product_id=product_id,
        kind="short sale" if match.short else match.kind,
        quantity=match.quantity,
        acquired=acquired,
        disposed=disposed,
        proceeds=match.proceeds,
        cost_basis=match.cost_basis if match.cost_known else None,
        gain=match.realized_pnl if match.cost_known else None,
        term=term_of(match, holding_period_days),
        opening_trade_id=match.opening_event_id,
        closing_trade_id=match.closing_event_id,
        opened_by=match.opened_by,
        closed_by=match.closed_by,
    )


def _of_unmatched(product_id: str, missing: UnmatchedDisposal) -> Gain:
    return Gain(
        product_id=product_id,
        kind=missing.kind,
        quantity=missing.quantity,
        disposed=missing.occurred_at,
        proceeds=missing.proceeds,
        closing_trade_id=missing.event_id,
    )


def _totals(gains: Sequence[Gain]) -> Iterator[GainTotal]:
    terms: tuple[Term, ...] = ("long", "short")
    for term in terms:
        of_term = [gain for gain in gains if gain.term == term]
        if of_term:
            yield GainTotal(
                term,
                _sum(one.proceeds for one in of_term),
                _sum(one.cost_basis for one in of_term),
                _sum(one.gain for one in of_term),
            )


def _sum(values: Iterable[Decimal | None]) -> Decimal:
    return sum((value for value in values if value is not None), ZERO)


def _line(section: str, one: Gain, method: Method, names: Mapping[UUID, str]) -> tuple[str, ...]:
    return (
        section,
        one.product_id,
        one.kind,
        decimal_text(one.quantity),
        time_text(one.acquired) if one.acquired else UNKNOWN,
        time_text(one.disposed),
        decimal_text(one.proceeds),
        _known(one.cost_basis),
        _known(one.gain),
        one.term or UNKNOWN,
        _called(one.opening_trade_id, names),
        _called(one.closing_trade_id, names),
        one.opened_by or "",
        one.closed_by or "",
        method.value,
    )


def _total_line(total: GainTotal, method: Method) -> tuple[str, ...]:
    sums = (decimal_text(total.proceeds), decimal_text(total.cost_basis), decimal_text(total.gain))
    return ("total", "", "", "", "", "", *sums, total.term, "", "", "", "", method.value)


def _known(value: Decimal | None) -> str:
    return UNKNOWN if value is None else decimal_text(value)


def _called(event_id: UUID | None, names: Mapping[UUID, str]) -> str:
    return UNKNOWN if event_id is None else names.get(event_id, str(event_id))
