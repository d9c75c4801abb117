"""Imports: each event of a file is stored once, also when repeated, in parts, in any order, or after a kill."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from ledger.booking.lots import Lot, Match
from ledger.events import TradeExecuted, TradeReversed
from ledger.imports import csv_trades
from ledger.imports import plan as import_plan
from ledger.imports import run as importing
from ledger.imports.entries import Entry, FileEntries
from ledger.imports.facts import BadRow
from ledger.imports.fast_csv import FastParser
from ledger.imports.files import table_of
from ledger.imports.formats.format import InvalidRow
from ledger.imports.pending import PendingEvent
from ledger.imports.run import ImportRequest, ImportResult, Store, WrongPortfolio, import_trades
from ledger.log.envelope import NewEvent
from ledger.log.event_log import NoSuchPortfolio
from ledger.postgres.book import PostgresBook
from ledger.postgres.log import read_events_by_id
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import Balance
from ledger.replay.verify import rebuild_portfolio, verify_portfolio
from ledger.values import Asset, decimal_text, derived_id, utc_time
from tests.support.events import SteppingClock

HEADER: Final = "id,time,instrument,side,quantity,price,fee"
TRADES: Final = tuple(
    f"t{n},2024-01-{1 + n:02d}T10:00:00Z,{'ETH' if n % 3 else 'BTC'}-USD,{'sell' if n % 4 == 3 else 'buy'},{n + 1}.5,10{n},0.25"
    for n in range(12)
)
BAD: Final = "x1,2024-02-01T10:00:00Z,BTC-USDT,buy,1,100,0"
numbers = count(1)


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(PostgresBook(engine, SteppingClock()), partial(rebuild_portfolio, engine))


def file_of(rows: Sequence[str]) -> bytes:
    return "\n".join((HEADER, *rows, "")).encode()


def new_name() -> str:
    return f"imported {next(numbers)}"


def wanted(name: str, path: Path = Path("trades.csv"), **options: Any) -> ImportRequest:
    return ImportRequest(path, derived_id("portfolio", name), name, **{"create": True, **options})


def take(store: Store, name: str, rows: Sequence[str], **options: Any) -> ImportResult:
    return import_trades(store, wanted(name, **options), file_of(rows))


def head(store: Store, name: str) -> int:
    return store.book.log.head(derived_id("portfolio", name)).position


def figures(store: Store, name: str) -> list[str]:
    """Holdings, balances, lots and matches, without positions and event ids."""
    found = []
    with store.book.reading(derived_id("portfolio", name)) as reading:
        assert reading.stopped is None
        for kind in (Holding, Balance, Lot, Match):
            names = [
                one.name for one in fields(kind) if "position" not in one.name and not one.name.endswith("event_id")
            ]
            found += [
                f"{kind.table} {[shown(getattr(row, one)) for one in names]}" for row in reading.rows.history(kind)
            ]
    return sorted(found)


def shown(value: object) -> str:
    return decimal_text(value) if isinstance(value, Decimal) else str(value)


def check_verified(engine: Engine, name: str) -> None:
    """Check the hash chain and that the views equal a replay."""
    report = verify_portfolio(engine, derived_id("portfolio", name))
    assert (report.broken, report.differences) == (None, ())


# --- once -------------------------------------------------------------------------------------------------------------


def test_import_adds_nothing_when_repeated(store: Store, engine: Engine) -> None:
    """The second import finds every event known; log and figures stay the same."""
    name = new_name()
    first = take(store, name, TRADES)
    before, position = figures(store, name), head(store, name)

    again = take(store, name, TRADES)

    assert (first.plan.new, first.imported, first.plan.known) == (12, 12, 0)
    assert (again.plan.new, again.imported, again.plan.known) == (0, 0, 12)
    assert (head(store, name), figures(store, name)) == (position, before)
    check_verified(engine, name)


def test_import_knows_a_trade_of_another_file(store: Store) -> None:
    """File and line are stored as metadata and not compared."""
    name = new_name()
    take(store, name, TRADES)

    again = take(store, name, tuple(reversed(TRADES)), path=Path("elsewhere.csv"))

    assert (again.plan.known, again.plan.new, again.plan.bad) == (12, 0, 0)
    event = next(one for one in store.book.log.read(derived_id("portfolio", name)) if one.type == "TradeExecuted")
    origin = json.loads(event.metadata)
    assert event.actor == "import"
    assert (origin["file"], origin["line"], len(origin["sha256"])) == ("trades.csv", 2, 64)


@settings(max_examples=12)
@given(cut=st.integers(1, 11), overlap=st.integers(0, 5), swapped=st.booleans())
def test_import_of_overlapping_halves_equals_the_whole(
    store: Store, engine: Engine, cut: int, overlap: int, swapped: bool
) -> None:
    """Two files cut from a history at any row, in either order, give the figures of one file."""
    whole, halved = new_name(), new_name()
    take(store, whole, TRADES)
    halves = [TRADES[: cut + overlap], TRADES[cut:]]

    for rows in reversed(halves) if swapped else halves:
        take(store, halved, rows)

    assert figures(store, halved) == figures(store, whole)
    check_verified(engine, halved)


def test_import_knows_rows_without_ids_in_overlapping_exports(store: Store) -> None:
    """Rows without ids are identified by content: shared rows are stored once, equal rows of one file twice."""
    name = new_name()
    row = "2023-06-0{},BTCUSDT,BUY,27000,0.5BTC,13500USDT,0.0005BTC"
    header = "Date(UTC),Pair,Side,Price,Executed,Amount,Fee"
    days = [row.format("1 10:00:00"), row.format("1 10:00:00"), row.format("2 10:00:00"), row.format("3 10:00:00")]
    for rows in (days[:3], days[2:], days):
        content = "\n".join((header, *rows)).encode()
        import_trades(store, wanted(name, base=Asset("USDT"), path=Path("b.csv")), content)

    assert sum(one.type == "TradeExecuted" for one in store.book.log.read(derived_id("portfolio", name))) == 4


def test_import_reports_other_content_under_a_known_id(store: Store) -> None:
    """The error names the fields that differ; nothing of the file is stored."""
    name = new_name()
    take(store, name, TRADES[:4])
    position = head(store, name)
    changed = TRADES[0].replace(",100,", ",101,")

    done = take(store, name, (changed, *TRADES[1:6]))

    assert (done.plan.conflicts, done.plan.bad, done.imported, head(store, name)) == (1, 1, 0, position)
    (refused,) = done.plan.invalid
    assert refused.error == "already recorded with other content: price is 100 there and 101 here"
    (twice,) = take(store, new_name(), (TRADES[0], changed)).plan.invalid
    assert "an earlier row of this file has the same id" in twice.error


# --- all or nothing ---------------------------------------------------------------------------------------------------


def test_import_stores_nothing_while_a_row_is_bad(store: Store, tmp_path: Path) -> None:
    """Nothing is written anywhere; the row is named with its line and the reason."""
    name = new_name()
    done = take(store, name, (*TRADES, BAD), path=tmp_path / "t.csv")

    assert (done.imported, done.plan.new) == (0, 12)
    (refused,) = done.plan.invalid
    assert (refused.lines, refused.id) == ((14,), "x1")
    assert refused.error.startswith("quote_rate is missing")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NoSuchPortfolio):
        head(store, name)


def test_import_writes_skipped_rows_beside_the_file(store: Store, tmp_path: Path) -> None:
    """The other rows are stored; FILE.bad.csv holds the bad ones with reasons and can be corrected and imported."""
    name = new_name()
    done = take(
        store, name, (TRADES[0], BAD, TRADES[1], "x2,never,BTC-USD,buy,1,1,0"), path=tmp_path / "t.csv", skip_bad=True
    )

    assert (done.imported, done.plan.bad) == (2, 2)
    assert done.bad_rows == tmp_path / "t.csv.bad.csv"
    rows = list(csv.reader(io.StringIO(done.bad_rows.read_text(encoding="utf-8"))))
    assert rows[0] == [*HEADER.split(","), "reason"]
    assert [",".join(row[:7]) for row in rows[1:]] == [BAD, "x2,never,BTC-USD,buy,1,1,0"]
    assert rows[1][7].startswith("quote_rate is missing")

    corrected = done.bad_rows.read_bytes().replace(b"USDT", b"USD").replace(b"never", b"2024-02-02T00:00:00Z")
    again = import_trades(store, wanted(name, done.bad_rows), corrected)
    assert (again.imported, again.plan.bad) == (2, 0)


def test_bad_rows_never_overwrite_an_edited_file(store: Store, tmp_path: Path) -> None:
    """The same bad rows stay in the same file; next to one with other content they get a file of their own."""
    name, path = new_name(), tmp_path / "t.csv"
    for _ in range(2):
        assert take(store, name, (BAD, TRADES[0]), path=path, skip_bad=True).bad_rows == tmp_path / "t.csv.bad.csv"
    written = (tmp_path / "t.csv.bad.csv").read_bytes()
    edited = written.replace(b"USDT", b"USD")
    (tmp_path / "t.csv.bad.csv").write_bytes(edited)
    (tmp_path / "t.csv.bad-2.csv").mkdir()

    done = take(store, name, (BAD, TRADES[0]), path=path, skip_bad=True)

    assert done.bad_rows == tmp_path / "t.csv.bad-3.csv"
    assert (done.bad_rows.read_bytes(), (tmp_path / "t.csv.bad.csv").read_bytes()) == (written, edited)


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_import_rejects_future_times(store: Store, tmp_path: Path, suffix: str) -> None:
    """A time more than five minutes ahead is invalid in any kind of file; a clock slightly ahead is accepted."""
    now = utc_time("2024-02-01T12:00:00Z")
    times = ("2024-02-01T12:04:59Z", "2024-02-01T12:05:01Z", "2042-01-01T00:00:00Z")
    rows = [f"f{number},{time},BTC-USD,buy,1,100,0" for number, time in enumerate(times)]
    content = file_of(rows)
    if suffix == "json":
        content = json.dumps(list(csv.DictReader(io.StringIO(content.decode())))).encode()

    done = import_trades(store, wanted(new_name(), tmp_path / f"t.{suffix}", skip_bad=True, now=now), content)

    first = 1 if suffix == "json" else 3
    assert (done.imported, [one.lines for one in done.plan.invalid]) == (1, [(first,), (first + 1,)])
    assert done.plan.invalid[1].error == (
        "time 2042-01-01T00:00:00Z is in the future: it is 2024-02-01T12:00:00Z: correct it"
    )


EXPORT_HEADER: Final = "Date(UTC),Pair,Side,Price,Executed,Amount,Fee"
BOUGHT: Final = "2023-06-01 10:00:59,BTCUSDT,BUY,27000,1BTC,27000USDT,0.01BNB"
BEFORE: Final = (
    "2023-06-01 10:00:30,USDTUSD,BUY,1.001,100USDT,100.1USD,0USD",
    "2023-06-01 10:00:30,BNBUSD,BUY,300,1BNB,300USD,0USD",
)
AFTER: Final = (
    "2023-06-01 10:01:01,USDTUSD,BUY,1.002,100USDT,100.2USD,0USD",
    "2023-06-01 10:01:01,BNBUSD,BUY,301,1BNB,301USD,0USD",
)


def exported(store: Store, name: str, *rows: str) -> ImportResult:
    return import_trades(store, wanted(name, Path("binance.csv")), "\n".join((EXPORT_HEADER, *rows, "")).encode())


def test_import_ignores_values_guessed_from_other_rows(store: Store) -> None:
    """A row is known in the next export, whichever rows surround it there."""
    name = new_name()
    assert exported(store, name, BOUGHT).plan.invalid[0].error.startswith("quote_rate is missing")
    assert exported(store, name, *BEFORE, BOUGHT).imported == 3

    for others, new in (((), 0), (BEFORE[:1], 0), (AFTER, 2)):
        plan = exported(store, name, BOUGHT, *others).plan
        assert (plan.new, plan.invalid) == (new, ())


def test_same_fact_compares_stated_figures(store: Store) -> None:
    """Only values guessed from other rows are ignored: another price or another stated value is a conflict."""
    name = new_name()
    exported(store, name, *BEFORE, BOUGHT)
    table = table_of(Path("binance.csv"), "\n".join((EXPORT_HEADER, *AFTER, BOUGHT, "")).encode())
    *_, one = FileEntries(table, derived_id("portfolio", name), Asset("USD"), b"", lambda _: None)
    assert isinstance(one, PendingEvent)
    with store.book.transaction() as connection:
        stored = read_events_by_id(connection, derived_id("portfolio", name), [one.event_id])[one.event_id]

    assert stored.payload != one.payload
    assert import_plan.same_fact(stored, one)
    assert not import_plan.same_fact(stored, one._replace(payload=one.payload.replace("27000", "27001")))
    assert not import_plan.same_fact(stored, one._replace(guessed=()))
    assert not import_plan.same_fact(stored, one._replace(guessed=(Asset("BNB"),)))


def test_planted_comparison_of_guessed_values_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing whole payloads makes an overlapping export conflict with itself."""
    monkeypatch.setattr(import_plan, "_stated", lambda payload, _: payload)

    with pytest.raises(AssertionError):
        test_import_ignores_values_guessed_from_other_rows(store)


def test_dry_run_writes_nothing(store: Store, tmp_path: Path) -> None:
    """A dry run reports the plan, opens no portfolio, writes no file and leaves the log unchanged."""
    name = new_name()
    assert take(store, name, TRADES, dry_run=True).plan.new == 12
    with pytest.raises(NoSuchPortfolio):
        head(store, name)
    take(store, name, TRADES[:3])
    position = head(store, name)

    done = take(store, name, (*TRADES, BAD), path=tmp_path / "t.csv", dry_run=True, skip_bad=True)

    assert (done.plan.known, done.plan.new, done.plan.bad, done.imported) == (3, 9, 1, 0)
    assert (head(store, name), list(tmp_path.iterdir())) == (position, [])


class Killed(BaseException):
    """The process dies."""


@pytest.mark.parametrize("appends", range(5))
@pytest.mark.parametrize("after", [False, True])
def test_import_completes_after_a_kill_at_any_batch(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch, appends: int, after: bool
) -> None:
    """Killed before or after any batch, even before the views are rebuilt, a repeated import gives the same state."""
    monkeypatch.setattr(importing, "AT_ONCE", 2)
    monkeypatch.setattr(importing, "BATCH", 4)
    name = new_name()
    wholly = new_name()
    take(store, wholly, TRADES)
    done, real = count(), store.book.log.append

    def dying(*arguments: Any) -> Any:
        dies = next(done) == appends
        if dies and not after:
            raise Killed
        result = real(*arguments)
        if dies:
            raise Killed
        return result

    with monkeypatch.context() as patched:
        patched.setattr(store.book.log, "append", dying)
        with pytest.raises(Killed):
            take(Store(store.book, _never), name, TRADES)

    again = take(store, name, TRADES)

    assert again.plan.new + again.plan.known == 12
    assert figures(store, name) == figures(store, wholly)
    check_verified(engine, name)


def _never(_portfolio_id: UUID) -> int:
    raise Killed


def test_import_gives_the_same_state_at_once_and_in_batches(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded at once or in batches with rebuilt views, the portfolio has the same figures."""
    few, many = new_name(), new_name()
    take(store, few, TRADES)
    monkeypatch.setattr(importing, "AT_ONCE", 1)
    monkeypatch.setattr(importing, "BATCH", 5)
    take(store, many, TRADES)

    assert figures(store, few) == figures(store, many)
    check_verified(engine, many)


@settings(max_examples=8)
@given(rows=st.one_of(st.just(tuple(reversed(TRADES))), st.permutations(TRADES)))
def test_import_appends_in_order_of_time(store: Store, rows: Sequence[str]) -> None:
    """Events are appended by time whatever the order of the file, so that none is late."""
    name = new_name()
    take(store, name, rows)

    times = [one.occurred_at for one in store.book.log.read(derived_id("portfolio", name))]
    assert times == sorted(times)


def test_import_keeps_equal_times_in_order_of_occurrence(store: Store) -> None:
    """In a file that begins with the newest, the lower of two rows of one time is the earlier."""
    name = new_name()
    rows = (
        "c,2024-01-02T00:00:00Z,BTC-USD,buy,1,1,0",
        *(f"{one},2024-01-01T00:00:00Z,BTC-USD,buy,1,1,0" for one in "ba"),
    )
    take(store, name, rows)

    events = list(store.book.log.read(derived_id("portfolio", name)))
    assert [json.loads(one.payload)["venue_trade_id"] for one in events[2:]] == ["a", "b", "c"]


def test_import_skips_events_of_a_concurrent_import(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that another import stores meanwhile are left out; each is in the log once."""
    name = new_name()
    take(store, name, TRADES[:1])
    real = importing._held_in
    meanwhile = iter([TRADES[1:5]])

    def slow(store: Store, portfolio_id: UUID) -> import_plan.Held:
        held = real(store, portfolio_id)

        def looked_up(ids: Sequence[UUID]) -> Any:
            found = held(ids)
            if len(ids) == 11 and (rows := next(meanwhile, None)):
                monkeypatch.setattr(importing, "_held_in", real)
                take(store, name, rows, path=Path("quicker.csv"))
            return found

        return looked_up

    monkeypatch.setattr(importing, "_held_in", slow)
    take(store, name, TRADES[1:])

    events = [one.event_id for one in store.book.log.read(derived_id("portfolio", name))]
    assert len(events) == len(set(events)) == 2 + len(TRADES)


# --- which portfolio --------------------------------------------------------------------------------------------------


def test_import_rejects_an_unsuitable_portfolio(store: Store) -> None:
    """An unknown portfolio, another base currency and an invalid name are one-sentence errors."""
    name = new_name()
    with pytest.raises(NoSuchPortfolio, match="--create"):
        take(store, name, TRADES, create=False)
    take(store, name, TRADES)
    with pytest.raises(WrongPortfolio, match="is kept in USD, not in EUR"):
        take(store, name, TRADES, base=Asset("EUR"))
    with pytest.raises(WrongPortfolio, match="cannot be a portfolio's name"):
        take(store, "x" * 101, TRADES)


def test_import_opens_new_accounts_once(store: Store) -> None:
    """A portfolio is opened with the accounts of the file, and later accounts as they appear, each once."""
    name = new_name()
    header = f"{HEADER},account\n"
    for accounts in (("a", "b"), ("b", "c"), ("c", "a")):
        rows = "".join(f"{TRADES[n]},{account}\n" for n, account in enumerate(accounts))
        import_trades(store, wanted(name), (header + rows).encode())

    opened = [one for one in store.book.log.read(derived_id("portfolio", name)) if one.type == "AccountOpened"]
    assert [json.loads(one.payload)["account"] for one in opened] == ["a", "b", "c"]


# --- the two parsers --------------------------------------------------------------------------------------------------

figure = st.one_of(
    st.decimals(min_value=0, max_value=10**6, places=8).map(lambda value: f"{value:f}"),
    st.sampled_from(
        ["0", "1", "1.50", "007", "+1", "-1", "1e3", ".5", "5.", "", "abc", "9" * 21, "0." + "1" * 19, " 2 ", "١"]
    ),
)
cell = {
    "id": st.sampled_from(["t1", "a-b", 'q"x', "ü", "", "x" * 101, " t2", "T:1/2"]),
    "time": st.sampled_from(
        [
            "2024-01-01T10:00:00Z",
            "2024-02-30T10:00:00Z",
            "2024-01-01 10:00:00.250+00:00",
            "2024-01-01T10:00:00",
            "2024-01-01T12:00:00+02:00",
            "2024-01-01T10:00:00.123456Z",
            "20240101T100000Z",
            "2024-01-01T24:00:00Z",
            "",
        ]
    ),
    "instrument": st.sampled_from(
        ["BTC-USD", "BTC/USD", "AAPL", "ETH-BTC", "USD-USD", "btc-usd", "A-B-C", "", "X" * 50]
    ),
    "side": st.sampled_from(["buy", "SELL", "Buy", "hold", ""]),
    "quantity": figure,
    "price": figure,
    "fee": figure,
    "fee_asset": st.sampled_from(["", "", "USD", "BTC", "AAPL", "BNB", "usd"]),
    "order_id": st.sampled_from(["", "", "o1"]),
    "account": st.sampled_from(["", "main", "two words", 'a"b']),
    "triggered_by": st.sampled_from(["", "manual", "bot:rsi", "me"]),
    "quote_rate": st.sampled_from(["", "", "1", "1.0", "27000"]),
    "fee_value": st.sampled_from(["", "", "0.5", "-1"]),
}
clean = {
    **cell,
    "id": st.sampled_from(["t1", "t2", "T:1/2"]),
    "time": st.sampled_from(["2024-01-01T10:00:00Z", "2024-01-01 10:00:00.250+00:00", "2024-01-01T10:00:00.000000Z"]),
    "instrument": st.sampled_from(["BTC-USD", "AAPL"]),
    "side": st.sampled_from(["buy", "SELL"]),
    **{
        name: st.decimals(min_value="0.01", max_value=10**6, places=4).map(str) for name in ("quantity", "price", "fee")
    },
    **{name: st.just("") for name in ("order_id", "quote_rate", "fee_value")},
    "fee_asset": st.sampled_from(["", "USD", "BTC", "AAPL"]),
    "account": st.sampled_from(["", "main"]),
    "triggered_by": st.sampled_from(["", "manual"]),
}
rows_of_cells = st.lists(st.one_of(st.fixed_dictionaries(cell), st.fixed_dictionaries(clean)), min_size=1, max_size=8)
columns = st.permutations(list(cell)).flatmap(
    lambda names: st.sets(st.sampled_from(["fee_asset", "order_id", "account", "quote_rate"])).map(
        lambda left_out: [name for name in names if name not in left_out]
    )
)


def csv_of(rows: list[dict[str, str]], names: list[str]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)
    return text.getvalue().encode()


def entries_of(content: bytes) -> list[Entry]:
    table = table_of(Path("t.csv"), content)
    return list(FileEntries(table, UUID(int=3), Asset("USD"), content, lambda _: None))


@settings(max_examples=150)
@given(rows=rows_of_cells, names=columns)
def test_fast_parser_equals_the_general_parser(rows: list[dict[str, str]], names: list[str]) -> None:
    """For random rows the fast parser gives the result of the general one, or leaves the row to it."""
    check_parsers(csv_of(rows, names))


def check_parsers(content: bytes) -> None:
    together = entries_of(content)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FastParser, "parse", lambda *_: None)
        assert entries_of(content) == together


@given(row=st.fixed_dictionaries(clean))
def test_fast_parser_reads_plain_rows(row: dict[str, str]) -> None:
    """A plain row never reaches the general parser, unless it is invalid."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(csv_trades, "fill_of", _refused)
        fast = entries_of(csv_of([row], list(row)))
    (careful,) = _careful(csv_of([row], list(row)))
    foreign = row["fee_asset"] not in ("", "USD", row["instrument"].partition("-")[0])
    assert fast == [careful] or foreign or isinstance(careful, InvalidRow)


def _refused(*_: object) -> Any:
    raise BadRow("reached the general parser")


def _careful(content: bytes) -> Iterator[Entry]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FastParser, "parse", lambda *_: None)
        yield from entries_of(content)


# --- planted bugs -----------------------------------------------------------------------------------------------------


def test_planted_difference_of_the_parsers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trailing zeros left in a figure make the parsers differ."""
    monkeypatch.setattr("ledger.imports.fast_csv._plain", lambda figure: figure)
    row = "t1,2024-01-01T10:00:00Z,BTC-USD,buy,1.50,10,0"
    with pytest.raises(AssertionError):
        check_parsers(file_of([row]))


def test_planted_comparison_of_metadata_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing metadata makes the same trade of another file a conflict."""
    monkeypatch.setattr(import_plan, "same_fact", lambda stored, one: stored.metadata == one.metadata)
    with pytest.raises(AssertionError):
        test_import_knows_a_trade_of_another_file(store)


def test_planted_comparison_of_ids_alone_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing ids alone accepts a changed price."""
    monkeypatch.setattr(import_plan, "same_fact", lambda *_: True)
    with pytest.raises(AssertionError):
        test_import_reports_other_content_under_a_known_id(store)


def test_planted_neglect_of_the_views_is_found(store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views that are not updated after batches differ from the log."""
    monkeypatch.setattr(importing, "_bring_views_up", lambda *_: None)
    with pytest.raises(AssertionError):
        test_import_gives_the_same_state_at_once_and_in_batches(store, engine, monkeypatch)


def test_planted_import_before_the_last_row_is_found(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing before all rows are checked stores half of a bad file."""
    real = import_plan.plan_of
    monkeypatch.setattr(importing, "plan_of", lambda *given: replace(real(*given), invalid=()))
    with pytest.raises(AssertionError):
        test_import_stores_nothing_while_a_row_is_bad(store, tmp_path)


def test_pending_events_equal_the_stored_events(store: Store) -> None:
    """Payload and metadata of pending events are stored unchanged."""
    name = new_name()
    take(store, name, TRADES)
    content = file_of(TRADES)
    entries = FileEntries(
        table_of(Path("trades.csv"), content), derived_id("portfolio", name), Asset("USD"), content, lambda _: None
    )

    stored = {one.event_id: one for one in store.book.log.read(derived_id("portfolio", name))}
    for one in entries:
        assert isinstance(one, PendingEvent)
        assert (stored[one.event_id].payload, stored[one.event_id].metadata) == (one.payload, one.metadata)


# --- reversals --------------------------------------------------------------------------------------------------------


def row(price: str) -> str:
    return f"r1,2024-03-01T10:00:00Z,BTC-USD,buy,2,{price},0"


def reverse(store: Store, name: str, event_id: UUID, number: int) -> None:
    event = TradeReversed(reverses=event_id, reason="wrong")
    new = NewEvent(event, derived_id("reversal", name, number), utc_time("2024-03-01T10:00:00Z"), "test", event_id)
    store.book.record(derived_id("portfolio", name), [new])


def last_trade(store: Store, name: str) -> UUID:
    log = store.book.log.read(derived_id("portfolio", name))
    return [one.event_id for one in log if one.type == "TradeExecuted"][-1]


def test_import_after_a_reversal_equals_a_correct_import(store: Store, engine: Engine) -> None:
    """A corrected row is imported after any number of wrong ones, which stay out and are reported as reversed."""
    name, right = new_name(), new_name()
    for number, price in enumerate(("10", "11")):
        assert take(store, name, [row(price)]).imported == 1
        reverse(store, name, last_trade(store, name), number)
    assert take(store, name, [row("12")]).imported == 1
    take(store, right, [row("12")])

    wrong = [take(store, name, [row(price)]).plan for price in ("10", "11")]
    again = take(store, name, [row("12")]).plan

    assert figures(store, name) == figures(store, right)
    assert [(one.new, one.known, len(one.reversed)) for one in wrong] == [(0, 1, 1), (0, 1, 1)]
    assert (again.new, again.known, again.reversed) == (0, 1, ())
    assert take(store, name, [row("13")]).plan.conflicts == 1
    check_verified(engine, name)


def test_planted_neglect_of_reversals_is_found(store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignoring reversals makes the corrected row a conflict."""
    monkeypatch.setattr(importing, "_reversals_in", lambda *_: {})
    with pytest.raises(AssertionError):
        test_import_after_a_reversal_equals_a_correct_import(store, engine)


BINANCE: Final = b"Date(UTC),Pair,Side,Price,Executed,Amount,Fee\n2024-01-02 10:00:00,BTCUSD,BUY,100,1BTC,100USD,0USD\n"


def test_import_knows_fills_of_our_own_orders(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fill of our own order is known under the trade service's id; once reversed, it is reported as reversed."""
    name = new_name()
    opening = take(store, name, [row("1")])
    assert opening.imported == 1
    path = Path("binance.csv")
    planned = import_trades(store, wanted(name, path, dry_run=True), BINANCE)
    assert (planned.plan.new, planned.plan.bad) == (1, 0)
    (one,) = [
        one
        for one in FileEntries(table_of(path, BINANCE), UUID(int=1), Asset("USD"), BINANCE, lambda _: None)
        if isinstance(one, PendingEvent)
    ]
    trade = one.new_event().event
    assert isinstance(trade, TradeExecuted)
    own = derived_id("fill", trade.venue, trade.account, trade.instrument, trade.venue_trade_id)
    sent = trade.model_copy(update={"triggered_by": "manual"})
    store.book.record(derived_id("portfolio", name), [NewEvent(sent, own, one.time, "trade service", own)])

    known = import_trades(store, wanted(name, path), BINANCE).plan
    reverse(store, name, own, 0)
    reversed_ = import_trades(store, wanted(name, path), BINANCE).plan

    assert (known.new, known.known, known.reversed) == (0, 1, ())
    assert (reversed_.new, reversed_.known, len(reversed_.reversed)) == (0, 1, 1)
