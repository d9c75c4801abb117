"""The exports of exchanges: each row becomes an event, is ignored or is invalid with a reason; none is lost."""

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.imports.entries import Entry, FileEntries
from ledger.imports.facts import BadRow, price_of
from ledger.imports.files import BadFile, table_of
from ledger.imports.formats import kraken
from ledger.imports.formats.binance import QUOTES
from ledger.imports.formats.format import Ignored, InvalidRow, decimal_of
from ledger.imports.formats.registry import EXPORTS, export_of
from ledger.imports.pending import PendingEvent
from ledger.imports.trade_file import read_trades
from ledger.reports.lots import lots_report
from ledger.values import Asset, time_text

SAMPLES: Final = Path(__file__).resolve().parents[3] / "samples" / "exports"
PORTFOLIO: Final = UUID(int=7)
BASES: Final = {
    "coinbase-transactions.csv": "USD",
    "coinbase-transactions-2022.csv": "EUR",
    "coinbase-fills.csv": "USD",
    "binance-trades.csv": "USDT",
    "binance-trades-2021.csv": "EUR",
    "kraken-trades.csv": "USD",
    "kraken-ledgers.csv": "USD",
    "luno-transactions.csv": "ZAR",
    "luno-zar.csv": "ZAR",
}


def entries_of(name: str, content: bytes | None = None, base: str = "") -> list[Entry]:
    """The entries of the sample, or of other content under its name, in a portfolio of its currency."""
    content = (SAMPLES / name).read_bytes() if content is None else content
    table = table_of(Path(name), content)
    return list(FileEntries(table, PORTFOLIO, Asset(base or BASES[name]), content, lambda _: None))


def described(entry: Entry) -> str:
    """The entry in one line, to compare with the file by eye."""
    if isinstance(entry, Ignored):
        return f"ignored {list(entry.lines)}: {entry.why}"
    if isinstance(entry, InvalidRow):
        return f"refused {list(entry.lines)}: {entry.error.partition(':')[0]}"
    return f"{entry.line} {time_text(entry.time)} {entry.type} {payload_text(json.loads(entry.payload))}"


def payload_text(payload: dict[str, object]) -> str:
    if "instrument" in payload:
        fees = payload["fees"]
        assert isinstance(fees, list)
        charged = "".join(f" fee {fee['amount']} {fee['asset']}" for fee in fees)
        rate = "" if payload["quote_rate"] == "1" else f" rate {payload['quote_rate']}"
        return f"{payload['side']} {payload['quantity']} {payload['instrument']} at {payload['price']}{charged}{rate}"
    if "fee" in payload:
        return str(payload["fee"])
    worth = payload.get("value", "")
    return (
        f"{payload.get('amount', payload.get('quantity'))} {payload['asset']} {payload.get('kind', '')} {worth}".strip()
    )


EXPECTED: Final = {
    "coinbase-transactions.csv": [
        "5 2024-03-01T09:15:00Z CashDeposited 5000 USD",
        "6 2024-03-01T09:30:12Z TradeExecuted buy 0.025 BTC-USD at 62000 fee 23.1 USD",
        "7 2024-03-02T11:00:00Z TradeExecuted buy 0.3 ETH-USD at 3400 fee 4.08 USD",
        "8 2024-03-05T18:45:01Z TradeExecuted sell 0.1 ETH-USD at 3500",
        "8 2024-03-05T18:45:01Z TradeExecuted buy 2.31 SOL-USD at 150 fee 3.5 USD",
        "9 2024-03-06T00:00:00Z IncomeReceived 0.002 SOL staking 0.3",
        "10 2024-03-07T07:00:00Z AssetDeposited 0.01 BTC",
        "11 2024-03-08T07:00:00Z AssetWithdrawn 0.05 ETH",
        "12 2024-03-09T12:00:00Z TradeExecuted sell 0.01 BTC-USD at 68000 fee 2.72 USD",
        "ignored [13]: moved between accounts of one's own (pro withdrawal)",
        "14 2024-03-11T12:00:00Z CashWithdrawn 200 USD",
    ],
    "coinbase-transactions-2022.csv": [
        # 0.004 at 40500 would be 162.00; the amount paid, 162.50, decides.
        "7 2022-01-04T10:11:12Z TradeExecuted buy 0.004 BTC-EUR at 40625 fee 2.99 EUR",
        "8 2022-01-05T10:11:12Z IncomeReceived 3.5 GRT reward 2.1",
        "9 2022-02-04T10:11:12Z TradeExecuted sell 0.001 BTC-EUR at 36000 fee 0.99 EUR",
    ],
    "coinbase-fills.csv": [
        "2 2023-05-01T08:00:00.125000Z TradeExecuted buy 0.12 BTC-USD at 28000.5 fee 16.8003 USD",
        "3 2023-05-02T08:00:00.250000Z TradeExecuted sell 0.02 BTC-USD at 29000 fee 2.9 USD",
        "refused [4]: quote_rate is missing",
    ],
    "binance-trades.csv": [
        "2 2023-06-01T10:00:00Z TradeExecuted buy 0.5 BTC-USDT at 27000.5 fee 0.0005 BTC",
        "3 2023-06-01T10:00:00Z TradeExecuted buy 0.5 BTC-USDT at 27000.5 fee 0.0005 BTC",
        "4 2023-06-02T11:12:13Z TradeExecuted sell 0.2 BTC-USDT at 27500 fee 5.5 USDT",
        "5 2023-06-03T12:00:00Z TradeExecuted buy 1 BNB-USDT at 300 fee 0.00075 BNB",
        "6 2023-06-03T12:00:30Z TradeExecuted buy 10 1INCH-USDT at 0.4 fee 0.00001 BNB",
        "refused [7]: the fee of 0.006 BNB has no value in USDT",
    ],
    "binance-trades-2021.csv": [
        "2 2021-02-01T00:00:05Z TradeExecuted buy 2 ETH-EUR at 1100.25 fee 0.002 ETH",
        "3 2021-02-02T00:00:05Z TradeExecuted sell 0.5 ETH-EUR at 1200 fee 0.6 EUR",
    ],
    "kraken-trades.csv": [
        "2 2022-03-01T10:00:00.123400Z TradeExecuted buy 0.1 BTC-USD at 43000 fee 6.88 USD",
        "3 2022-03-02T10:00:00.500000Z TradeExecuted buy 10 XTZ-USD at 3.2 fee 0.0832 USD",
        "4 2022-03-03T10:00:00Z TradeExecuted sell 20 DOGE-USD at 0.125 fee 0.0065 USD",
        "refused [5]: margin",
        "refused [6]: quote_rate is missing",
    ],
    "kraken-ledgers.csv": [
        "ignored [2]: not settled yet (the ledger lists it again when it is)",
        "3 2024-01-02T09:01:00Z CashDeposited 1000 USD",
        "ignored [8]: moved between accounts of one's own (transfer spottostaking)",
        "9 2024-01-12T09:00:00Z IncomeReceived 0.02 DOT staking 0.15",
        "refused [11]: type",
        "4 2024-01-03T09:00:00Z TradeExecuted buy 0.01 BTC-USD at 45000 fee 1.17 USD",
        "6 2024-01-04T09:00:00Z TradeExecuted buy 10 DOT-USD at 7 fee 0.7 USD",
        "10 2024-01-13T09:00:00Z AssetWithdrawn 0.0051 BTC",
    ],
    "luno-transactions.csv": [
        "2 2023-04-01T08:00:00Z TradeExecuted buy 0.01 BTC-ZAR at 520000",
        "3 2023-04-02T08:00:00Z TradeExecuted buy 0.02 BTC-ZAR at 520000 fee 0.00002 BTC",
        "5 2023-04-03T08:00:00Z TradeExecuted sell 0.005 BTC-ZAR at 530000.5",
        "6 2023-04-04T08:00:00Z AssetDeposited 0.001 BTC",
        "7 2023-04-05T08:00:00Z AssetWithdrawn 0.002 BTC",
        "8 2023-04-05T08:00:00Z FeeCharged {'amount': '0.00001', 'asset': 'BTC', 'value': '5.3'}",
        "ignored [9]: moved between wallets of one's own",
        "10 2023-05-01T08:00:00Z IncomeReceived 0.000001 BTC interest 0.53",
        "refused [11]: description",
    ],
    "luno-zar.csv": [
        "2 2023-03-31T08:00:00Z CashDeposited 20000 ZAR",
        "ignored [3]: the other side of a trade that the BTC wallet tells",
        "4 2023-04-03T08:00:00Z FeeCharged {'amount': '2.65', 'asset': 'ZAR', 'value': '2.65'}",
        "6 2023-04-10T08:00:00Z CashWithdrawn 1000 ZAR",
    ],
}


@pytest.mark.parametrize("name", BASES)
def test_samples_give_the_expected_entries(name: str) -> None:
    """Each sample gives exactly the events, ignored rows and invalid rows read from it by hand."""
    assert [described(entry) for entry in entries_of(name)] == EXPECTED[name]


def test_samples_cover_every_export() -> None:
    """Every supported export has a sample."""
    formats = {table_of(path, path.read_bytes()).format for path in SAMPLES.glob("*.csv")}

    assert formats == {export.name for export in EXPORTS}
    assert {path.name for path in SAMPLES.glob("*.csv")} == set(BASES)


@pytest.mark.parametrize("name", BASES)
def test_entries_cover_every_row(name: str) -> None:
    """Every row below the header is in an event, is ignored, or is invalid."""
    content = (SAMPLES / name).read_bytes()
    table = table_of(Path(name), content)
    entries = FileEntries(table, PORTFOLIO, Asset(BASES[name]), content, lambda _: None)
    lines: Counter[int] = Counter()
    for entry in entries:
        lines.update([entry.line] if isinstance(entry, PendingEvent) else entry.lines)

    below = [line for line, _ in table.cells()]
    assert entries.rows == len(below)
    # The later rows of a trade are its other side and its fee.
    second = {"kraken-ledgers.csv": {5, 7}, "luno-transactions.csv": {4}, "luno-zar.csv": {5}}.get(name, set())
    assert set(lines) | second == set(below)


@pytest.mark.parametrize("name", BASES)
def test_export_of_recognises_a_header_in_any_order_and_case(name: str) -> None:
    """An export is recognised by all of its columns, in any order, and by no subset of them."""
    header = table_of(Path(name), (SAMPLES / name).read_bytes()).header
    export = export_of(header)

    assert export is not None
    assert export_of([cell.upper() for cell in reversed(header)]) is export
    for column in export.columns:
        assert export_of([cell for cell in header if cell.lower() != column]) is not export


def test_entries_keep_identical_rows_without_ids() -> None:
    """Two equal fills of one file are both kept; the same file again gives the same ids."""
    first = [entry for entry in entries_of("binance-trades.csv") if isinstance(entry, PendingEvent)]

    assert len({entry.event_id for entry in first}) == len(first) == 5
    assert first == [entry for entry in entries_of("binance-trades.csv") if isinstance(entry, PendingEvent)]


def test_added_columns_complete_a_row() -> None:
    """A quote rate or the value of a fee or of income in an added column completes the row, under the same id."""
    rows = list(csv.reader(io.StringIO((SAMPLES / "binance-trades.csv").read_text(encoding="utf-8"))))
    refused = [rows[0] + ["fee_value", "reason"], rows[6] + ["1.45", "the fee of 0.006 BNB has no value"]]
    text = "\n".join(",".join(row) for row in refused).encode()

    (entry,) = entries_of("binance-trades.csv", text)
    assert isinstance(entry, PendingEvent)
    assert json.loads(entry.payload)["fees"] == [{"amount": "0.006", "asset": "BNB", "value": "1.45"}]
    assert entry.id == entries_of("binance-trades.csv")[5].id  # type: ignore[union-attr]

    fills = (SAMPLES / "coinbase-fills.csv").read_text(encoding="utf-8").splitlines()
    (traded,) = entries_of("coinbase-fills.csv", f"{fills[0]},quote_rate\n{fills[3]},28500\n".encode())
    assert described(traded).endswith("buy 1 ETH-BTC at 0.066 fee 0.00033 BTC rate 28500")


def test_entries_never_equate_a_stable_coin_with_the_dollar() -> None:
    """Trades priced in USDT are invalid in a portfolio in USD unless a row of the file gives the rate."""
    refused = entries_of("binance-trades.csv", base="USD")

    assert all(isinstance(entry, InvalidRow) and "the value of one USDT in USD" in entry.error for entry in refused)
    rates = (
        "Date(UTC),Pair,Side,Price,Executed,Amount,Fee\n"
        "2023-06-01 10:00:00,USDTUSD,BUY,1.001,100USDT,100.1USD,0USD\n"
        "2023-06-01 10:00:59,BTCUSDT,BUY,27000,1BTC,27000USDT,0BTC\n"
        "2023-06-01 10:01:01,BTCUSDT,BUY,27000,1BTC,27000USDT,0BTC\n"
    )
    lines = [described(entry) for entry in entries_of("x.csv", rates.encode(), base="USD")]
    assert lines[1].endswith("buy 1 BTC-USDT at 27000 rate 1.001")
    assert lines[2] == "refused [4]: quote_rate is missing"


def test_entries_reject_income_without_a_value() -> None:
    """Income with a value in another currency, or none, is invalid."""
    content = (SAMPLES / "kraken-ledgers.csv").read_bytes()

    (refused,) = [one for one in entries_of("kraken-ledgers.csv", content, base="EUR") if "income" in described(one)]
    assert isinstance(refused, InvalidRow)
    assert "0.02 DOT has no value in EUR (its value is in USD)" in refused.error


def test_kraken_nets_fees_and_returned_withdrawals() -> None:
    """A returned withdrawal cancels out, a reward has its net value, and a fee is in the row's own asset."""
    text = (
        "txid,refid,time,type,subtype,aclass,asset,amount,fee,feecurrency,balance,amountusd\n"
        "L1,R1,2024-01-01 09:00:00,withdrawal,,currency,XXBT,-0.02,0.001,XXBT,,\n"
        "L2,R1,2024-01-01 10:00:00,withdrawal,,currency,XXBT,0.02,-0.001,XXBT,,\n"
        "L3,R2,2024-01-02 09:00:00,staking,,currency,DOT,0.001,0.0001,DOT,,2.3\n"
        "L4,R3,2024-01-03 09:00:00,deposit,,currency,XXBT,1,0.001,KFEE,,\n"
        "L5,R4,2024-01-04 09:00:00,withdrawal,,currency,XXBT,0.02,0,XXBT,,\n"
        "L6,R5,2024-01-05 09:00:00,withdrawal,,currency,XXBT,-0.5,0.001,XXBT,,\n"
    )
    found = {
        entry.lines if not isinstance(entry, PendingEvent) else (entry.line,): entry
        for entry in entries_of("ledgers.csv", text.encode(), base="USD")
    }

    assert described(found[2, 3]) == "ignored [2, 3]: a withdrawal that was given back"
    assert json.loads(found[(4,)].payload)["value"] == "2.07"  # type: ignore[union-attr]
    assert described(found[(5,)]) == "refused [5]: feecurrency"
    assert described(found[(6,)]) == "refused [6]: amount"
    assert json.loads(found[(7,)].payload)["quantity"] == "0.501"  # type: ignore[union-attr]


def test_entries_reject_only_broken_rows() -> None:
    """A missing cell, a wrong number, an unknown type and an extra cell are named with their line."""
    text = (
        "portfolio,trade id,product,side,created at,size,size unit,price,fee,total,price/fee/total unit\n"
        "default,1,BTC-USD,BUY,2023-05-01T08:00:00Z,,BTC,28000,0,0,USD\n"
        "default,2,BTC-USD,BUY,2023-05-01T08:00:00Z,1e,BTC,28000,0,0,USD\n"
        "default,3,BTC-USD,HOLD,2023-05-01T08:00:00Z,1,BTC,28000,0,0,USD\n"
        "default,4,BTC-USD,BUY,2023-05-01T08:00:00Z,1,BTC,28,000,0,0,USD\n"
        "default,5,BTC-USD,BUY,yesterday,1,BTC,28000,0,0,USD\n"
        "default,6,BTC-USD,BUY,2023-05-01T08:00:00Z,-1,BTC,28000,0,0,USD\n"
        "default,7,BTC-USD,BUY,2023-05-01T08:00:00Z,1,BTC,28000,0,0,USD\n"
    )
    found = entries_of("coinbase-fills.csv", text.encode())

    reasons = [entry.error for entry in found if isinstance(entry, InvalidRow)]
    wanted = ["size is missing", "size: '1e'", "side: 'HOLD'", "12 cells", "created at: 'yesterday'", "quantity: "]
    assert [reason[: len(start)] for reason, start in zip(reasons, wanted, strict=True)] == wanted
    assert [entry.id for entry in found if isinstance(entry, PendingEvent)] == ["7"]


# --- the parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "instrument"),
    [
        ("XXBTZUSD", "BTC-USD"),
        ("XBTUSDT", "BTC-USDT"),
        ("BTC/USD", "BTC-USD"),
        ("XBT/EUR", "BTC-EUR"),
        ("XXDGXXBT", "DOGE-BTC"),
        ("XETHZEUR", "ETH-EUR"),
        ("USDTZUSD", "USDT-USD"),
        ("XTZUSD", "XTZ-USD"),
        ("TRXXBT", "TRX-BTC"),
        ("ADAEUR", "ADA-EUR"),
        ("DASHXBT", "DASH-BTC"),
        ("DOTUSDC", "DOT-USDC"),
    ],
)
def test_kraken_instrument_of_translates_names(market: str, instrument: str) -> None:
    """Old, new and slashed names of a pair give the same instrument."""
    assert kraken.instrument_of(market) == instrument


@pytest.mark.parametrize(
    ("name", "asset"), [("DOT28.S", "DOT"), ("XBT.M", "BTC"), ("ETH2.S", "ETH"), ("ZUSD", "USD"), ("USD.HOLD", "USD")]
)
def test_kraken_asset_of_ignores_where_a_balance_is_kept(name: str, asset: str) -> None:
    """Kraken's staked and parked balances are the coin itself."""
    assert kraken.asset_of(name) == asset


@given(
    number=st.decimals(min_value=0, max_value=10**15, places=8, allow_nan=False), sign=st.sampled_from(["", "-", "+"])
)
def test_decimal_of_keeps_every_digit(number: Decimal, sign: str) -> None:
    """A figure with or without a currency sign and thousands commas is read to the last digit."""
    value = -number if sign == "-" else number
    for written in (f"{sign}{number:f}", f"{sign}{number:,f}", f"{sign}€{number:,f}", f"${sign}{number:f}"):
        assert decimal_of(written, "x") == value


@pytest.mark.parametrize(
    "text", ["", " ", "-", "€", "1,23", "1,2345.6", "1.2.3", "--1", "1 000", "NaN", "0x10", "١", "1" * 39]
)
def test_decimal_of_rejects_other_texts(text: str) -> None:
    """Decimal commas, words, non-ASCII digits and oversized figures are rejected, never guessed."""
    with pytest.raises(BadRow):
        decimal_of(text, "x")


@given(
    quantity=st.decimals(min_value="0.00000001", max_value=10**6, places=8),
    cost=st.decimals(min_value="0.01", max_value=10**9, places=2),
)
def test_price_of_gives_the_cost(quantity: Decimal, cost: Decimal) -> None:
    """The price gives the cost to 18 places of a unit price; a stated price that gives it exactly is kept."""
    price = price_of(quantity, Decimal(0), cost)

    assert abs(quantity * price - cost) <= quantity * Decimal("5E-19")
    assert price_of(quantity, cost, quantity * cost) == cost


def test_binance_quotes_list_longer_names_first() -> None:
    """No known quote hides behind a shorter one that it ends with."""
    for place, quote in enumerate(QUOTES):
        assert not any(later != quote and later.endswith(quote) for later in QUOTES[place:]), quote


# --- in the report of lots --------------------------------------------------------------------------------------------


def test_read_trades_counts_other_rows_of_an_export() -> None:
    """The trades of an export give lots; its other rows are counted by reason."""
    file = read_trades(SAMPLES / "coinbase-transactions.csv")
    report = lots_report(file)

    assert file.unreadable == 0
    assert report.totals["BTC-USD"].realized_pnl == Decimal("677.28") - Decimal("629.24")
    assert [error["error"] for error in report.errors] == [
        "1 row is not in this report: moved between accounts of one's own (pro withdrawal)",
        "2 rows are not in this report: no trade (deposit)",
        "1 row is not in this report: no trade (income)",
        "2 rows are not in this report: no trade (withdrawal)",
    ]


def test_read_trades_lists_the_exports_for_an_unknown_header(tmp_path: Path) -> None:
    """The error for a file that is neither ours nor an export lists the exports."""
    (tmp_path / "a.csv").write_text("Datum,Coin,Menge\n2024-01-01,BTC,1\n", encoding="utf-8")

    with pytest.raises(BadFile) as refusal:
        read_trades(tmp_path / "a.csv")
    assert all(export.name in str(refusal.value) for export in EXPORTS)


# --- planted bugs -----------------------------------------------------------------------------------------------------


def test_planted_wrong_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples find an asset name left untranslated."""
    monkeypatch.setattr(kraken, "NAMES", {})
    with pytest.raises(AssertionError):
        test_samples_give_the_expected_entries("kraken-trades.csv")


def test_planted_lost_row_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count of rows finds transfers dropped silently."""
    export = replace(kraken.LEDGERS, groups=lambda lines: (g for g in kraken.entries(lines) if len(g) == 2))
    monkeypatch.setattr("ledger.imports.files.export_of", lambda _: export)
    with pytest.raises(AssertionError):
        test_entries_cover_every_row("kraken-ledgers.csv")


def test_planted_merge_of_identical_rows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample with two identical rows finds their merge."""
    monkeypatch.setattr("ledger.imports.formats.format.Counter", _Forgetful)
    with pytest.raises(AssertionError):
        test_entries_keep_identical_rows_without_ids()


class _Forgetful(dict[bytes, int]):
    def __missing__(self, key: bytes) -> int:
        return 0

    def __setitem__(self, key: bytes, value: int) -> None:
        return None
