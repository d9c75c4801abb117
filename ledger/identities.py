"""The identities that hold between rows whatever happened: money is neither made nor lost by bookkeeping."""

from collections.abc import Iterator
from decimal import Decimal

from ledger.lots import Leg, Lot, Match, UnmatchedDisposal
from ledger.projections.cash import Balance, cash_of
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import PortfolioView
from ledger.rows import Rows
from ledger.values import ZERO, decimal_text


def broken_identities(rows: Rows) -> Iterator[tuple[str, str, str]]:
    """Each identity that does not hold, as (name, left side, right side); none when the books balance.

    Open lots and unmatched disposals make up the position; every unit bought is open or matched, every unit sold
    matched or unmatched; deposits - withdrawals + realised P&L + unmatched proceeds = cash + cost of open lots;
    balances per account add up to positions; P&L per source adds up to the total.
    """
    portfolio = next(iter(rows.where(PortfolioView)), None)
    if portfolio is None:
        return
    holdings = list(rows.where(Holding))
    for holding in holdings:
        for name, left, right in _of_holding(rows, holding):
            if left != right:
                yield f"{name} of {holding.asset}", decimal_text(left), decimal_text(right)
    left = cash_deposited(rows, portfolio.base_currency) + sum(
        (h.realized_pnl + h.unmatched_proceeds for h in holdings), ZERO
    )
    right = cash_of(rows, portfolio.base_currency) + sum((h.cost_basis for h in holdings), ZERO)
    if left != right:
        yield (
            "deposits - withdrawals + realised P&L = cash + cost of open lots",
            decimal_text(left),
            decimal_text(right),
        )


def cash_deposited(rows: Rows, currency: str) -> Decimal:
    """What came in from outside less what went out again."""
    return sum((balance.deposited for balance in rows.where(Balance, currency)), ZERO)


def _of_holding(rows: Rows, holding: Holding) -> Iterator[tuple[str, Decimal, Decimal]]:
    lots = list(rows.history(Lot, holding.asset))
    matches = list(rows.history(Match, holding.asset))
    legs = list(rows.history(Leg, holding.asset))
    unmatched = list(rows.history(UnmatchedDisposal, holding.asset))
    bought = sum((leg.quantity for leg in legs if leg.quantity > 0), ZERO)
    sold = -sum((leg.quantity for leg in legs if leg.quantity < 0), ZERO)
    matched = sum((match.quantity for match in matches), ZERO)
    open_quantity = sum((lot.open_quantity for lot in lots), ZERO)
    missing = sum((one.quantity for one in unmatched), ZERO)
    cost_in = sum((leg.value for leg in legs if leg.quantity > 0), ZERO)
    proceeds = sum((leg.value for leg in legs if leg.quantity < 0), ZERO)
    yield "open lots - unmatched = position", open_quantity - missing, holding.quantity
    yield "matched + open = bought", matched + open_quantity, bought
    yield "matched + unmatched = sold", matched + missing, sold
    yield "cost of open lots", sum((lot.open_cost for lot in lots), ZERO), holding.cost_basis
    yield "cost matched + cost open = cost in", sum((m.cost_basis for m in matches), ZERO) + holding.cost_basis, cost_in
    yield (
        "proceeds matched + unmatched = proceeds",
        sum((m.proceeds for m in matches), ZERO) + sum((one.proceeds for one in unmatched), ZERO),
        proceeds,
    )
    yield "realised P&L of matches", sum((match.realized_pnl for match in matches), ZERO), holding.realized_pnl
    yield "fees of legs", sum((leg.fee for leg in legs), ZERO), holding.fees
    balances = sum((balance.quantity for balance in rows.where(Balance, holding.asset)), ZERO)
    yield "balances of all accounts = position", balances, holding.quantity
