"""Exported trades, read again as a trade file, give the lots and matches of their book."""

import csv
import io
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.events import PortfolioOpened, TradeExecuted
from ledger.events.fields import Fee
from ledger.exports import trades as trade_export
from ledger.exports.trades import TRADE_COLUMNS, trade_lines
from ledger.log.envelope import NewEvent
from ledger.reports.lots import lots_report, portfolio_lots_report
from ledger.values import Asset, Side, decimal_text
from tests.support.generators.random_lives import NOON, fold_facts
from tests.support.generators.random_trades import BASE, trades
from tests.support.lots_comparison import read

ASSETS = ("BTC", "AAPL")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


own_trades = trades().filter(lambda one: one.instrument.quote == BASE)
"""Trades against the base currency, which a trade file can state completely."""


@given(
    found=st.lists(own_trades, min_size=1, max_size=12), minutes=st.lists(st.integers(0, 5), min_size=12, max_size=12)
)
def test_exported_trades_give_the_same_lots_when_read_again(
    found: list[TradeExecuted], minutes: list[int], folder: Path
) -> None:
    """Fees of every kind, several at once, late entries and equal times give the book's sales and lots."""
    check_round_trip(found, minutes, folder)


def test_planted_missing_fee_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export of the first fee only gives other lots."""

    def first_only(trade: TradeExecuted, _currency: str) -> tuple[Decimal, Decimal, Asset]:
        fee = trade.fees[0] if trade.fees else Fee(asset=trade.instrument.quote, amount=Decimal(0))
        return trade.quantity, fee.amount, fee.asset

    monkeypatch.setattr(trade_export, "_one_fee", first_only)
    with pytest.raises(AssertionError):
        check_round_trip([_traded()], [0], folder)


def test_several_fees_become_one_with_the_same_lots(folder: Path) -> None:
    """A fee in the traded asset and one in money are exported as one fee."""
    check_round_trip([_traded(), _traded().model_copy(update={"side": Side.SELL})], [0, 1], folder)


def test_columns_are_those_of_a_trade_file(folder: Path) -> None:
    """The header begins with the columns of a trade file; several fees are all listed."""
    trade = _traded()
    line = dict(zip(TRADE_COLUMNS, exported([trade], [0])[1], strict=True))

    assert TRADE_COLUMNS[:7] == ("id", "time", "instrument", "side", "quantity", "price", "fee")
    assert line["fees"] == "0.1 BTC + 5 USD"
    assert (line["quantity"], line["price"], line["fee"], line["fee_asset"]) == ("1.9", "100", "15", "USD")


def _traded() -> TradeExecuted:
    return TradeExecuted.model_validate(
        {
            "account": "a",
            "venue": "v",
            "venue_trade_id": "1",
            "instrument": "BTC-USD",
            "side": "buy",
            "quantity": "2",
            "price": "100",
            "quote_rate": "1",
            "fees": [{"asset": "BTC", "amount": "0.1"}, {"asset": "USD", "amount": "5"}],
        },
        strict=False,
    )


def exported(found: list[TradeExecuted], minutes: list[int]) -> list[tuple[str, ...]]:
    _, log = fold_facts(facts_of(found, minutes))
    return list(trade_lines(log, BASE))


def facts_of(found: list[TradeExecuted], minutes: list[int]) -> list[NewEvent]:
    opened = NewEvent(
        PortfolioOpened(name="p", base_currency=Asset(BASE)), UUID(int=1000), NOON, "test", UUID(int=1000)
    )
    made = [
        NewEvent(one, UUID(int=1001 + number), NOON.replace(minute=minutes[number]), "test", UUID(int=1001 + number))
        for number, one in enumerate(found)
    ]
    return [opened, *made]


def check_round_trip(found: list[TradeExecuted], minutes: list[int], folder: Path) -> None:
    rows, log = fold_facts(facts_of(found, minutes))
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(trade_lines(log, BASE))
    again = read(folder, file.getvalue())
    if any("needs more than" in error["error"] for error in again.errors):
        return  # A file may state 38 digits; a fee that replaces several can need more.
    assert [error for error in again.errors if "unmatched" not in error["error"]] == []
    read_again, book = lots_report(again), portfolio_lots_report(rows)
    for asset in ASSETS:
        product_id = f"{asset}-{BASE}"
        assert [one for one in read_again.sells if one.instrument == product_id] == [
            one for one in book.sells if one.instrument == product_id
        ]
        assert [one for one in read_again.open_lots if one.instrument == product_id] == [
            one for one in book.open_lots if one.instrument == product_id
        ]
    assert sum(one.event.side is Side.SELL for one in again.trades) == sum(one.side is Side.SELL for one in found)
    assert all(Fraction(decimal_text(one.event.quantity)) > 0 for one in again.trades)
