"""Compares legacy figures with the ledger's and explains each difference by cause, exactly."""

import sqlite3
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import zip_longest
from typing import Final
from uuid import UUID

from ledger.events import TradeExecuted
from ledger.log.envelope import Envelope
from ledger.values import ZERO, Asset, Side, round18
from migrations.legacy.check.fifo import Fifo
from migrations.legacy.check.formulas import HEADLINE, MEASURES, Formulas, Trade
from migrations.legacy.load.stage import Stage
from migrations.legacy.translate.comparison import BOTS, CAUSES, ORDERED
from migrations.legacy.translate.outcomes import EPOCH

BY_STAGE: Final = CAUSES[1:ORDERED]
"""Causes removed by the stages, before the events are compared."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A legacy figure and the ledger's. The causes add up to `ledger` - `legacy` exactly."""

    legacy: Decimal
    ledger: Decimal
    causes: Mapping[str, Decimal]

    @property
    def difference(self) -> Decimal:
        return self.ledger - self.legacy


@dataclass(frozen=True, slots=True)
class ProductPnl:
    """One product (or the total): the difference by formula, and the ledger's figures."""

    formulas: Mapping[str, Difference]
    realized: Decimal
    unrealized: Decimal
    open_quantity: Decimal | None
    open_cost: Decimal
    fees: Decimal
    unmatched_proceeds: Decimal

    @property
    def headline(self) -> Difference:
        return self.formulas[HEADLINE]


def compared(stage: Stage, portfolio_id: UUID, base: Asset) -> dict[str, ProductPnl]:
    """Compare each product of the source or the log, by name. Needs the log in the stage (`load/logged.py`)."""
    names = stage.connection.execute(
        "select product from seen union select product from events where type = ? and portfolio = ? order by 1",
        (TradeExecuted.type, str(portfolio_id)),
    ).fetchall()
    return {name: _of_product(stage.connection, portfolio_id, base, name) for (name,) in names}


def total_of(products: Mapping[str, ProductPnl]) -> ProductPnl:
    """Sum over all products."""
    parts = list(products.values())
    formulas = {
        name: Difference(
            sum((one.formulas[name].legacy for one in parts), ZERO),
            sum((one.formulas[name].ledger for one in parts), ZERO),
            {cause: sum((one.formulas[name].causes[cause] for one in parts), ZERO) for cause in CAUSES},
        )
        for name in MEASURES
    }
    return ProductPnl(
        formulas,
        sum((one.realized for one in parts), ZERO),
        sum((one.unrealized for one in parts), ZERO),
        None,
        sum((one.open_cost for one in parts), ZERO),
        sum((one.fees for one in parts), ZERO),
        sum((one.unmatched_proceeds for one in parts), ZERO),
    )


def explained(product: ProductPnl) -> bool:
    """Return True if the causes add up and none is unexplained."""
    return all(
        one.causes["unexplained"] == 0 and sum(one.causes.values(), ZERO) == one.difference
        for one in product.formulas.values()
    )


def _of_product(work: sqlite3.Connection, portfolio_id: UUID, base: Asset, product: str) -> ProductPnl:
    recorded, by_stage = _recorded(work, product)
    expected = _expected(work, portfolio_id, base, product)
    ledger = expected.full
    # The same trades in the same order give the same figures; only others have to be booked.
    if not _stored_as_staged(work, portfolio_id, product):
        ledger = Fifo(base)
        for envelope in _in_log(work, portfolio_id, product):
            ledger.add(envelope)
    formulas = {}
    for name, measure in MEASURES.items():
        steps = [*(one[name] for one in by_stage), *(one[name] for one in expected.formulas)]
        steps += [expected.bare.figure(measure), expected.full.figure(measure), ledger.figure(measure)]
        legacy = Decimal(repr(recorded[name]))
        formulas[name] = Difference(legacy, ledger.figure(measure), _causes(legacy, [round18(one) for one in steps]))
    return ProductPnl(
        formulas,
        ledger.realized,
        ledger.figure("unrealized"),
        ledger.open_quantity,
        ledger.open_cost,
        ledger.paid_fees,
        ledger.unmatched_proceeds,
    )


NAMED: Final = ("rounding", *BY_STAGE, "order", "oversell", "fee", "average_cost", "fee", "unexplained")
"""Cause removed by each step. Fees take two: those deducted by the formula, then those deducted by the ledger."""


def _causes(legacy: Decimal, steps: list[Decimal]) -> dict[str, Decimal]:
    found = dict.fromkeys(CAUSES, ZERO)
    before = legacy
    for name, after in zip(NAMED, steps, strict=True):
        found[name] += after - before
        before = after
    return found


def _recorded(work: sqlite3.Connection, product: str) -> tuple[dict[str, float], list[dict[str, Decimal]]]:
    """Return the formulas in floats over the rows they counted, and in decimals for each stage before the events."""
    binary = Formulas(0.0)
    exact = [Formulas(ZERO, botless=number >= BOTS) for number in range(ORDERED)]
    with closing(work.cursor()) as cursor:
        cursor.execute(
            "select first, last, strict, bot, side, size, usd, price, fee from seen where product = ? order by at, id, rowid",
            (product,),
        )
        for first, last, strict, bot, side, size_text, usd_text, price_text, fee_text in cursor:
            size, price, fee = map(Decimal, (size_text, price_text, fee_text))
            usd = size * price if usd_text is None else Decimal(usd_text)
            trade = Trade(side == "buy", size, usd, price, fee, bool(bot))
            for number in range(first, last):
                exact[number].add(trade, strict=number >= strict)
            if first == 0:
                binary.add(_binary(trade, stored=usd_text is not None), strict=strict == 0)
    return binary.results(), [one.results() for one in exact]


def _binary(trade: Trade[Decimal], *, stored: bool) -> Trade[float]:
    """Convert a trade to floats. A value that was not `stored` is the product of floats, as in the legacy system."""
    size, price = float(trade.size), float(trade.price)
    return Trade(trade.buy, size, float(trade.usd) if stored else size * price, price, float(trade.fee), trade.bot)


@dataclass(frozen=True, slots=True)
class _Expected:
    """Figures of the staged events: formulas in the ledger's order, then without oversold quantity, then without fees; FIFO."""

    formulas: list[dict[str, Decimal]]
    bare: Fifo
    full: Fifo


def _expected(work: sqlite3.Connection, portfolio_id: UUID, base: Asset, product: str) -> _Expected:
    ordered, covered, free = (Formulas(ZERO, botless=True) for _ in range(3))
    bare, full = Fifo(base, fees=False), Fifo(base)
    for envelope, fee in _staged(work, portfolio_id, product):
        full.add(envelope)
        missing = bare.add(envelope)
        trade = envelope.event
        assert isinstance(trade, TradeExecuted), "only trades are staged for a product"
        buy, price = trade.side is Side.BUY, trade.price
        whole, matched = trade.quantity, trade.quantity - missing
        ordered.add(Trade(buy, whole, round18(whole * price), price, fee, bot=True))
        covered.add(Trade(buy, matched, round18(matched * price), price, fee, bot=True))
        free.add(Trade(buy, matched, round18(matched * price), price, ZERO, bot=True))
    return _Expected([ordered.results(), covered.results(), free.results()], bare, full)


def _stored_as_staged(work: sqlite3.Connection, portfolio_id: UUID, product: str) -> bool:
    with (
        closing(_staged(work, portfolio_id, product)) as wanted,
        closing(_in_log(work, portfolio_id, product)) as found,
    ):
        return all(one == other for one, other in zip_longest((envelope for envelope, _ in wanted), found))


def _staged(
    work: sqlite3.Connection, portfolio_id: UUID, product: str
) -> Generator[tuple[Envelope, Decimal], None, None]:
    """Yield the staged trades with their legacy fees in the ledger's order: by time, then by position if imported."""
    with closing(work.cursor()) as cursor:
        cursor.execute(
            "select id, at, version, payload, fee from events where portfolio = ? and product = ? and type = ?"
            " order by at, coalesce(position, 9223372036854775807), rank, number, sub",
            (str(portfolio_id), product, TradeExecuted.type),
        )
        for number, (id_, at, version, payload, fee) in enumerate(cursor, start=1):
            yield _envelope(portfolio_id, number, id_, at, version, payload), Decimal(fee)


def _in_log(work: sqlite3.Connection, portfolio_id: UUID, product: str) -> Generator[Envelope, None, None]:
    """Yield the imported trades of the product that are not reversed."""
    with closing(work.cursor()) as cursor:
        cursor.execute(
            "select id, at, version, payload from log where portfolio = ? and product = ? and reversed_by is null"
            " and type = ? order by at, position",
            (str(portfolio_id), product, TradeExecuted.type),
        )
        for number, row in enumerate(cursor, start=1):
            yield _envelope(portfolio_id, number, *row)


def _envelope(portfolio_id: UUID, number: int, id_: str, at: int, version: int, payload: str) -> Envelope:
    """Build the envelope of a trade for booking; fields that booking ignores are empty. `number` counts its product's trades."""
    time, event_id = EPOCH + timedelta(microseconds=at), UUID(id_)
    story = (time, time, "", event_id, None)
    return Envelope(portfolio_id, number, event_id, TradeExecuted.type, version, *story, payload, "{}", b"")
