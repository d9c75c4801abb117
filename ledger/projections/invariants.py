"""Accounting invariants: identities between rows that hold after any sequence of events."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from ledger.booking.lots import Leg, Lot, Match, UnmatchedDisposal
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import Balance, PortfolioView, cash_of
from ledger.rows import Rows
from ledger.values import ZERO, decimal_text

Identity = tuple[str, Decimal, Decimal]
"""Name, left side, right side."""


def broken_invariants(rows: Rows) -> Iterator[tuple[str, str, str]]:
    """Yield each violated identity as (name, left side, right side); nothing when the books balance.

    Open lots less unmatched disposals equal the position, and so does the sum of legs, in the portfolio and in each
    account. Every unit bought is open or matched, every unit sold matched or unmatched. Net deposits + income + realised
    P&L + proceeds without P&L - expenses = cash + cost of open lots.
    """
    portfolio = next(iter(rows.where(PortfolioView)), None)
    if portfolio is None:
        return
    holdings = list(rows.where(Holding))
    for holding in holdings:
        for name, left, right in _of_holding(rows, holding):
            if left != right:
                yield f"{name} of {holding.asset}", decimal_text(left), decimal_text(right)
    left = net_inflow(rows, portfolio.base_currency) + sum(
        (one.realized_pnl + one.unmatched_proceeds + one.unknown_cost_proceeds for one in holdings), ZERO
    )
    right = cash_of(rows, portfolio.base_currency) + sum((one.cost_basis for one in holdings), ZERO)
    if left != right:
        yield (
            "net deposits + income + realised P&L + proceeds without P&L - expenses = cash + cost of open lots",
            decimal_text(left),
            decimal_text(right),
        )


def net_inflow(rows: Rows, currency: str) -> Decimal:
    """Return deposits less withdrawals of cash and, at cost, of other assets, plus income, less expenses."""
    cash = sum((one.deposited + one.income - one.expenses for one in rows.where(Balance, currency)), ZERO)
    return cash + sum((one.contributed + one.income - one.expenses for one in rows.where(Holding)), ZERO)


def _of_holding(rows: Rows, holding: Holding) -> Iterator[Identity]:
    lots = list(rows.history(Lot, holding.asset))
    matches = list(rows.history(Match, holding.asset))
    legs = list(rows.history(Leg, holding.asset))
    unmatched = list(rows.history(UnmatchedDisposal, holding.asset))
    balances = list(rows.where(Balance, holding.asset))
    unmatched_quantity = _sum(one.quantity for one in unmatched)
    yield (
        "open lots - unmatched = position",
        _sum(_signed(lot, lot.open_quantity) for lot in lots) - unmatched_quantity,
        holding.quantity,
    )
    yield "sum of legs = position", _sum(leg.quantity for leg in legs), holding.quantity
    yield "balances of all accounts = position", _sum(one.quantity for one in balances), holding.quantity
    for balance in balances:
        moved = _sum(leg.quantity for leg in legs if leg.account == balance.account)
        yield f"legs in {balance.account} = balance", moved, balance.quantity
    yield "cost of open lots", _sum(_signed(lot, lot.open_cost) for lot in lots), holding.cost_basis
    yield "realised P&L of matches", _sum(match.realized_pnl for match in matches), holding.realized_pnl
    yield (
        "proceeds of unknown cost",
        _sum(one.proceeds for one in matches if not one.cost_known),
        holding.unknown_cost_proceeds,
    )
    unknown = _sum(lot.open_quantity for lot in lots if not lot.cost_known)
    yield "open lots of unknown cost", unknown, holding.unknown_cost_quantity
    yield "fees of legs", _sum(leg.fee for leg in legs), holding.fees
    yield "proceeds unmatched", _sum(one.proceeds for one in unmatched), holding.unmatched_proceeds
    if not any(leg.kind == "split" for leg in legs):
        yield from _of_units(legs, lots, matches, unmatched_quantity)
    yield from _of_values(legs, matches, unmatched, holding)


def _of_units(legs: list[Leg], lots: list[Lot], matches: list[Match], unmatched: Decimal) -> Iterator[Identity]:
    """Every unit in or out is matched, open or unmatched. Holds for assets without a split."""
    moved = [leg for leg in legs if leg.kind != "transfer"]
    matched = _sum(match.quantity for match in matches)
    for name, sign, short, rest in (("bought", 1, False, ZERO), ("sold", -1, True, unmatched)):
        open_quantity = _sum(lot.open_quantity for lot in lots if lot.short == short)
        all_units = _sum(abs(leg.quantity) for leg in moved if leg.quantity * sign > 0)
        yield f"matched + open + unmatched = {name}", matched + open_quantity + rest, all_units


def _of_values(
    legs: list[Leg], matches: list[Match], unmatched: list[UnmatchedDisposal], holding: Holding
) -> Iterator[Identity]:
    """All costs are in matches and open lots; all proceeds are in matches and unmatched disposals."""
    paid = _sum(leg.value for leg in legs if leg.quantity > 0)
    got = _sum(leg.value for leg in legs if leg.quantity < 0)
    at_cost = _sum(match.cost_basis for match in matches if match.kind == "withdrawal")
    cost = _sum(match.cost_basis for match in matches)
    proceeds = _sum(match.proceeds for match in matches) - at_cost + _sum(one.proceeds for one in unmatched)
    yield "cost matched + cost open - proceeds matched = paid - got", cost + holding.cost_basis - proceeds, paid - got


def _signed(lot: Lot, value: Decimal) -> Decimal:
    return -value if lot.short else value


def _sum(values: Iterable[Decimal]) -> Decimal:
    return sum(values, ZERO)
