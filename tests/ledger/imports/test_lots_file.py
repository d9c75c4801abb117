"""`daybook lots FILE`: trade files are read without losing a digit or a row, and their lots are right."""

import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.cli.lots import report_json
from ledger.booking import lots
from ledger.booking.lots import Booking, Leg, Lot
from ledger.imports.files import BadFile
from ledger.imports.trade_file import read_trades
from ledger.projections import holdings
from ledger.reports.lots import LotsReport, lots_report
from tests.support.lots_comparison import as_csv, check_against_oracle, read, report_of
from tests.support.oracle import TradeRow, random_rows, trade_rows

SEEDS = range(8)
HEADER = "id,time,instrument,side,quantity,price,fee"
BUY = {
    "id": "b",
    "time": "2024-01-01T00:00:00Z",
    "instrument": "BTC-USD",
    "side": "buy",
    "quantity": "2",
    "price": "100",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trades")


# ── the figures ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("oversells", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_report_equals_the_oracle(seed: int, oversells: bool, folder: Path) -> None:
    """500 random trades give the oracle's matches, open lots and totals to 1e-12, and no digit of quantity is lost."""
    rows = random_rows(seed, 500, oversells=oversells)

    check_against_oracle(rows, report_of(folder, as_csv(rows)))


@settings(deadline=None)
@given(rows=trade_rows())
def test_report_equals_the_oracle_for_any_trades(rows: list[TradeRow], folder: Path) -> None:
    """Random trades with awkward figures give the oracle's report."""
    check_against_oracle(rows, report_of(folder, json.dumps(rows)))


@given(rows=trade_rows(8), order=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_report_ignores_the_order_of_rows(rows: list[TradeRow], order: Random, folder: Path) -> None:
    """Rows of different times give the same report in any order."""
    one_each = list({row["time"]: row for row in rows}.values())
    mixed = one_each.copy()
    order.shuffle(mixed)

    assert figures(report_of(folder, as_csv(mixed))) == figures(report_of(folder, as_csv(one_each)))


def test_oracle_finds_last_in_first_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison fails when lots close in the wrong order."""

    def newest_first(leg: Leg, open_lots: Iterable[Lot]) -> Booking:
        return lots.book_leg(leg, reversed(list(open_lots)))

    monkeypatch.setattr(holdings, "book_leg", newest_first)
    assert_comparison_fails(folder)


def test_oracle_finds_a_wrong_share(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison fails when the shares of a cost are rounded to cents."""

    def cents(total: Decimal, part: Decimal, whole: Decimal) -> Decimal:
        return total if part == whole else (total * part / whole).quantize(Decimal("0.01"))

    monkeypatch.setattr(lots, "share18", cents)
    assert_comparison_fails(folder)


def test_oracle_finds_a_missing_fee(folder: Path) -> None:
    """The comparison fails when one fee of one trade is left out."""
    rows = random_rows(1, 500)
    report = report_of(folder, as_csv([{**rows[0], "fee": "0"}, *rows[1:]]))

    with pytest.raises(AssertionError):
        check_against_oracle(rows, report)


def test_report_excludes_an_oversold_quantity_from_gains(folder: Path) -> None:
    """The excess is listed beside the matched part, excluded from every gain, and named in one sentence."""
    report = report_of(
        folder,
        f"{HEADER}\nb1,2024-01-01T00:00:00Z,BTC-USD,buy,2,100,0\ns1,2024-01-02T00:00:00Z,BTC-USD,sell,3,150,3\n",
    )

    found = report_json(report)
    assert found["sells"] == [
        {
            "id": "s1",
            "instrument": "BTC-USD",
            "time": "2024-01-02T00:00:00Z",
            "quantity": "3",
            "proceeds": "298",
            "cost_basis": "200",
            "realized_pnl": "98",
            "matches": [
                {"lot_id": "b1", "quantity": "2", "proceeds": "298", "cost_basis": "200", "realized_pnl": "98"}
            ],
            "unmatched_quantity": "1",
            "unmatched_proceeds": "149",
        }
    ]
    assert found["open_lots"] == []
    assert found["totals"] == {
        "BTC-USD": {"realized_pnl": "98", "open_quantity": "0", "open_cost_basis": "0", "fees": "3"}
    }
    sentence = "sold 3 BTC with 2 held: 1 unmatched, excluded from realised P&L"
    assert found["errors"] == [{"id": "s1", "instrument": "BTC-USD", "error": sentence}]


def test_report_keeps_instrument_texts_apart(folder: Path) -> None:
    """Figures are keyed by the instrument exactly as given, so BTC-USD and BTC/USD do not close each other's lots."""
    forms = ["BTC-USD", "BTC/USD", "AAPL", "BTC/USDT"]
    file = read(folder, json.dumps([{**BUY, "id": form, "instrument": form} for form in forms]), base="EUR")

    report = lots_report(file)
    assert list(report.totals) == forms
    assert [str(trade.event.instrument) for trade in file.trades] == ["BTC-USD", "BTC-USD", "AAPL-EUR", "BTC-USDT"]


def test_report_notes_a_fee_without_a_value(folder: Path) -> None:
    """A fee in a third asset without a value is left out of the trade, with a note."""
    file = read(folder, json.dumps([{**BUY, "fee": "0.1", "fee_asset": "BNB"}]))

    report = report_json(lots_report(file))
    assert report["open_lots"] == [{"lot_id": "b", "instrument": "BTC-USD", "quantity": "2", "cost_basis": "200"}]
    sentence = "index 0: the fee of 0.1 BNB has no stated value in USD: the trade is computed without it"
    assert report["errors"] == [{"id": "b", "instrument": "BTC-USD", "error": sentence}]
    assert file.unreadable == 0


def test_read_trades_notes_an_unknown_source(folder: Path) -> None:
    """The trade counts; its unknown source affects no figure and is left out, with a note."""
    file = read(folder, json.dumps([{**BUY, "triggered_by": "nobody"}, {**BUY, "id": "c", "triggered_by": "bot:rsi"}]))

    assert [trade.event.triggered_by for trade in file.trades] == ["import", "bot:rsi"]
    assert ["triggered_by: 'nobody'" in error["error"] for error in file.errors] == [True]
    assert file.unreadable == 0


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\nb,2024-01-01T00:00:00Z,BTC-USD,buy,2,100,0\n",
        f"\ufeff{HEADER}\r\nb,2024-01-01T00:00:00Z,BTC-USD,BUY,2.0,100.00,\r\n\r\n",
        'note,price,quantity,side,instrument,time,id\n"a,b",100,2,Buy,BTC-USD,2024-01-01 01:00:00+01:00, b \n',
        '"id","time","instrument","side","quantity","price"\n"b","2024-01-01T00:00:00Z","BTC-USD","buy","2","100"',
        json.dumps([BUY]),
        "\ufeff \n" + json.dumps([{**BUY, "fee": None, "extra": [1.5, {"deep": True}], "order_id": ""}]),
    ],
)
def test_read_trades_reads_every_form_of_a_file(text: str, folder: Path) -> None:
    """Column order, case, byte order marks, line ends, unknown columns and CSV or JSON make no difference."""
    trades = read(folder, text).trades

    assert [one.event for one in trades] == [one.event for one in read(folder, json.dumps([BUY])).trades]
    assert len(trades) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"quantity": "abc"}, "quantity: 'abc' is not a plain decimal number"),
        ({"quantity": "1e3"}, "quantity: '1e3' is not a plain decimal number"),
        ({"quantity": "NaN"}, "quantity: 'NaN' is not a plain decimal number"),
        ({"quantity": "0"}, "quantity: 0 must be greater than 0"),
        ({"price": "-1"}, "price: -1 must be greater than 0"),
        ({"price": "1" + "0" * 20}, "price: 1" + "0" * 20 + " needs more than 20 digits and 18 decimal places"),
        ({"fee": "0." + "0" * 18 + "1"}, "fee: 1E-19 needs more than 20 digits and 18 decimal places"),
        ({"fee": "2", "fee_asset": "BTC"}, "fee: fees of 2 BTC must be less than the quantity 2"),
        ({"fee_asset": "bnb"}, "fee_asset: 'bnb' is not an asset symbol such as BTC or USD"),
        ({"time": "2024-01-01T00:00:00"}, "time: the time 2024-01-01T00:00:00 has no zone"),
        ({"time": "yesterday"}, "time: 'yesterday' is not an ISO-8601 time"),
        ({"time": "0001-01-01T00:00:00+01:00"}, "time: the time 0001-01-01T00:00:00+01:00 is outside"),
        ({"side": "hold"}, "side: 'hold' is neither buy nor sell"),
        ({"instrument": "btc-usd"}, "instrument: 'btc-usd' is not an instrument such as BTC-USD"),
        ({"instrument": "USD"}, "instrument: 'USD-USD' trades an asset against itself"),
        ({"instrument": "A-B-C"}, "instrument: 'A-B-C' is not an instrument such as BTC-USD"),
        ({"price": ""}, "price is missing"),
        ({"id": "x" * 101}, "id: "),
    ],
)
def test_read_trades_names_the_field_of_an_unreadable_row(change: dict[str, str], sentence: str, folder: Path) -> None:
    """CSV and JSON name the place and the field of what cannot be read, and the other rows are computed."""
    rows = [BUY, {**BUY, "id": "bad", **change}, {**BUY, "id": "b2"}]

    for text, place in ((as_csv(rows), "line 3"), (json.dumps(rows), "index 1")):
        file = read(folder, text)
        assert [trade.fill.id for trade in file.trades] == ["b", "b2"]
        assert [error["error"].startswith(f"{place}: {sentence}") for error in file.errors] == [True], file.errors
        assert file.unreadable == 1


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ('{"id": "x", "price": 1.10}', 'price: 1.10 is a JSON number: write it as text, "1.10"'),
        ('{"id": "x", "quantity": 3}', 'quantity: 3 is a JSON number: write it as text, "3"'),
        ('{"id": "x", "fee": NaN}', "fee: NaN is not a finite number"),
        ('{"id": "x", "quantity": true}', "quantity: expected text, got true or false"),
        ('{"id": "x", "quantity": ["1"]}', "quantity: expected text, got a list"),
        ('{"id": "x", "quantity": {"a": "1"}}', "quantity: expected text, got an object"),
        ('{"id": "x", "price": "1", "price": "2"}', "price is given twice: keep one of them"),
        ('{"id": "x"}', "time is missing; instrument is missing; side is missing; quantity is missing"),
        ('{"id": "\\ud800"}', "time is missing"),
        ('"x"', "a trade must be an object with names and values"),
        ("[]", "a trade must be an object with names and values"),
    ],
)
def test_read_trades_rejects_an_ambiguous_json_entry(entry: str, sentence: str, folder: Path) -> None:
    """Numbers with their digits as written, doubled names and other shapes are refused entry by entry."""
    file = read(folder, f"[{entry}, {json.dumps(BUY)}]")

    assert [trade.fill.id for trade in file.trades] == ["b"]
    assert [error["error"].startswith(f"index 0: {sentence}") for error in file.errors] == [True], file.errors
    assert file.unreadable == 1
    json.dumps(report_json(lots_report(file)), ensure_ascii=False).encode()


def test_read_trades_accepts_whole_json_numbers_as_ids(folder: Path) -> None:
    """The ids 17 and "17" name the same trade."""
    text = json.dumps([{**BUY, "id": 17}, {**BUY, "id": "17"}])

    file = read(folder, text)
    assert [trade.fill.id for trade in file.trades] == ["17"]
    assert file.errors == ()


def test_read_trades_uses_an_id_once(folder: Path) -> None:
    """A repeated trade is skipped silently; the same id with other content is an error, and the first one stays."""
    same, other = {**BUY, "quantity": "2.00"}, {**BUY, "quantity": "3"}

    file = read(folder, json.dumps([BUY, same, other]))
    assert [trade.event.quantity for trade in file.trades] == [Decimal(2)]
    sentence = "index 2: this id was already used with other content: the first one stands, this row is left out"
    assert file.errors == ({"id": "b", "instrument": "BTC-USD", "error": sentence},)
    assert file.unreadable == 0


def test_read_trades_rejects_cells_without_a_column(folder: Path) -> None:
    """A thousands comma that shifts the cells of a row does not change a number."""
    file = read(folder, f"{HEADER}\nb,2024-01-01T00:00:00Z,BTC-USD,buy,1,000.5,100,0\n")

    assert file.trades == ()
    assert "8 cells in 7 columns" in file.errors[0]["error"]


@pytest.mark.parametrize("text", ["[]", HEADER])
def test_report_is_empty_for_a_file_without_trades(text: str, folder: Path) -> None:
    """A list or a header with nothing in it gives an empty report."""
    report = report_of(folder, text)

    assert (
        json.dumps(report_json(report))
        == '{"method": "fifo", "sells": [], "open_lots": [], "totals": {}, "errors": []}'
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty: it needs a header line"),
        (b"\xef\xbb\xbf \r\n", "is empty: it needs a header line"),
        (b"a\0b", "is not a text file"),
        (b"id,time\n\xff", "is not UTF-8 text"),
        (b"b,2024-01-01T00:00:00Z,BTC-USD,buy,2,100,0\n", "has no column id, time, instrument, side, quantity, price"),
        (HEADER.replace(",", ";").encode(), "has no column id"),
        (f"{HEADER},Fee\n".encode(), "names the column fee twice"),
        (f'{HEADER}\n"open'.encode(), "is not a CSV file: line 2"),
        (HEADER.encode("utf-16"), "is not a text file"),
        (f"{HEADER}\né,1,2,3,4,5,6\n".encode("latin-1"), "is not UTF-8 text"),
        (f"{HEADER}\n{'x' * 200_000}".encode(), "is not a CSV file: line 2"),
        (b'[{"id": "b"]', "is not JSON: line 1, column 12"),
        (b'{"trades": []}', "must be a JSON list of trades"),
        (b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_read_trades_rejects_an_unusable_file(content: bytes, sentence: str, tmp_path: Path) -> None:
    """The error names the file, the fault and what to do."""
    path = tmp_path / "trades"
    path.write_bytes(content)

    with pytest.raises(BadFile) as refusal:
        read_trades(path)
    assert str(refusal.value).startswith(f"{path} {sentence}")


def test_read_trades_rejects_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    """The error names the path; a file named .json is read as JSON."""
    for path, sentence in ((tmp_path / "none.csv", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(BadFile, match=sentence):
            read_trades(path)
    (tmp_path / "trades.json").write_text(HEADER, encoding="utf-8")
    with pytest.raises(BadFile, match="is not JSON"):
        read_trades(tmp_path / "trades.json")


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@settings(deadline=None)
def test_read_trades_handles_any_bytes(content: bytes, folder: Path) -> None:
    """Any bytes at all give a report or one BadFile."""
    path = folder / "any"
    path.write_bytes(content)

    try:
        file = read_trades(path)
    except BadFile:
        return
    lots_report(file)


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=5,
)


@given(name=st.sampled_from([*BUY, "fee", "fee_asset", "order_id", "account", "triggered_by"]), value=JSON_VALUES)
@settings(deadline=None)
def test_read_trades_handles_any_json_value(name: str, value: object, folder: Path) -> None:
    """Any JSON value in any column gives a trade or one error, and the row beside it is computed."""
    file = read(folder, json.dumps([{**BUY, "id": "x", name: value}, {**BUY, "id": "beside"}]))

    assert len(file.trades) + file.unreadable == 2
    assert file.trades[-1].fill.id == "beside"
    json.dumps(report_json(lots_report(file)), ensure_ascii=False).encode()


def assert_comparison_fails(folder: Path) -> None:
    rows = random_rows(1, 500)
    with pytest.raises(AssertionError):
        check_against_oracle(rows, report_of(folder, as_csv(rows)))


def figures(report: LotsReport) -> object:
    """The report without the sentences, which name places in the file."""
    return report.sells, report.open_lots, sorted(report.totals.items())
