"""`daybook record FILE`: entries from a file, all or none, each once."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from api.cli.entries import record_file
from api.runtime.settings import BadSettings, Settings
from ledger.entries.recording import record_checked
from ledger.imports.files import BadFile
from ledger.postgres.book import PostgresBook
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import cash_of
from tests.support.events import ACCOUNT, Story
from tests.support.processes import Home, new_home

CASH: Final = {"id": "c1", "kind": "cash_deposit", "account": ACCOUNT, "amount": "50"}
COINS: Final = {"id": "a1", "kind": "asset_deposit", "account": ACCOUNT, "asset": "BTC", "quantity": "2", "cost": "9"}
FILL: Final = {
    **{name: COINS[name] for name in ("account", "quantity")},
    "id": "t1",
    "kind": "trade",
    "venue_trade_id": "7",
    "product_id": "BTC-USD",
    "side": "sell",
    "price": "10",
    "occurred_at": "2026-01-03T10:00:00Z",
}
GOOD: Final[list[Any]] = [CASH, COINS, FILL]


@pytest.fixture
def story(postgres_book: PostgresBook) -> Story:
    """An open portfolio with its money."""
    made = Story("recorded")
    postgres_book.record(made.portfolio_id, made.opened())
    return made


@pytest.fixture
def told(database_url: str, tmp_path: Path, story: Story) -> Settings:
    """The settings of the command."""
    return Settings(data_dir=tmp_path, database_url=database_url)  # type: ignore[arg-type]  # read as from outside


@pytest.fixture
def home(database_url: str, story: Story) -> Iterator[Home]:
    with new_home(candles=10, database_url=database_url) as made:
        yield made


def written(folder: Path, entries: object) -> Path:
    path = folder / "entries.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries), encoding="utf-8")
    return path


def test_record_adds_each_entry_once(told: Settings, story: Story, tmp_path: Path, postgres_book: PostgresBook) -> None:
    """Every entry is recorded once, however often the file is recorded and extended."""
    named = str(story.portfolio_id)

    assert record_file(told, written(tmp_path, GOOD), named, dry_run=False).endswith(
        f"3 entries are recorded in {named!r}"
    )
    again = record_file(told, written(tmp_path, GOOD), named, dry_run=False)
    assert again.endswith(f"0 entries are recorded in {named!r}, 3 known already")
    more = record_file(told, written(tmp_path, [*GOOD, COINS | {"id": "a2"}]), named, dry_run=False)
    assert more.endswith(f"1 entry is recorded in {named!r}, 3 known already")

    with postgres_book.reading(story.portfolio_id) as reading:
        holding = reading.rows.get(Holding, "BTC")
        assert holding is not None
        assert (holding.quantity, cash_of(reading.rows, "USD")) == (Decimal(2), Decimal(100000 + 50 + 20))
        assert (reading.position, reading.stopped) == (3 + 4, None)


def test_record_writes_nothing_in_a_dry_run(
    told: Settings, story: Story, tmp_path: Path, postgres_book: PostgresBook
) -> None:
    """With --dry-run the answer counts the entries to record, and the log does not change."""
    said = record_file(told, written(tmp_path, GOOD), str(story.portfolio_id), dry_run=True)

    assert "3 entries could be recorded" in said
    assert postgres_book.log.head(story.portfolio_id).position == 3


def test_record_dry_run_that_commits_is_found(
    told: Settings, story: Story, tmp_path: Path, postgres_book: PostgresBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a dry run that commits changes the log."""
    monkeypatch.setattr(
        "api.cli.entries.record_checked",
        lambda book, portfolio_id, prepare, _: record_checked(book, portfolio_id, prepare, lambda _: None),
    )

    with pytest.raises(AssertionError):
        test_record_writes_nothing_in_a_dry_run(told, story, tmp_path, postgres_book)


BAD: Final[list[tuple[object, str]]] = [
    ("[", "is not JSON"),
    ({"id": "c1"}, "must be a JSON list"),
    ([[]], "index 0: an entry is an object"),
    ([{"kind": "cash_deposit"}], "index 0: an entry is an object with an id"),
    ([CASH, COINS | {"id": ""}], "index 1: id: "),
    ([CASH, COINS | {"quantity": 2}], "index 1: asset_deposit.quantity: 2 is a number"),
    ([CASH, COINS | {"kind": "gift"}], "index 1: kind is 'gift': it must be one of cash_deposit, cash_withdrawal, "),
    ([CASH, {"id": "a1"}], "index 1: kind is missing: it must be one of cash_deposit, "),
    ([CASH, COINS | {"id": "a\n1"}], "index 1: id: must not contain line breaks"),
    ([CASH, COINS | {"quantity": "1" * 80}], "… (80 characters) is not a plain decimal number"),
    ([CASH, COINS | {"id": "c1"}], "index 1: duplicate id 'c1'"),
    ([CASH, FILL, FILL | {"id": "t2"}], "index 2 (t2): duplicate trade in the file"),
    ([CASH, COINS | {"account": "elsewhere"}], "index 1 (a1): there is no account 'elsewhere'"),
    ([CASH, COINS | {"asset": "USD"}], "index 1 (a1): USD is the base currency"),
    ([CASH, COINS | {"occurred_at": "2999-01-01T00:00:00Z"}], "index 1 (a1): occurred_at"),
    ([CASH, CASH | {"id": "c2", "amount": "9" * 20}], "digits"),
    (
        '[{"id": "c1", "kind": "split", "asset": "BTC", "asset": "ETH", "numerator": 2, "denominator": 1}]',
        "given twice",
    ),
]


def test_record_refuses_a_file_with_one_wrong_entry(
    told: Settings, story: Story, tmp_path: Path, postgres_book: PostgresBook
) -> None:
    """One sentence names the wrong entry, and none of the others is recorded."""
    for entries, said in BAD:
        with pytest.raises(BadFile) as refused:
            record_file(told, written(tmp_path, entries), str(story.portfolio_id), dry_run=False)
        assert said in str(refused.value)
        assert postgres_book.log.head(story.portfolio_id).position == 3

    record_file(told, written(tmp_path, GOOD), str(story.portfolio_id), dry_run=False)
    for changed in (CASH | {"amount": "51"}, FILL | {"occurred_at": "2026-01-03T10:00:01Z"}):
        with pytest.raises(BadFile, match="recorded with other content"):
            record_file(told, written(tmp_path, [changed]), str(story.portfolio_id), dry_run=False)
    with pytest.raises(BadSettings, match="no portfolio called"):
        record_file(told, written(tmp_path, GOOD), "nobody's", dry_run=False)
    with pytest.raises(FileNotFoundError):
        record_file(told, tmp_path / "none.json", str(story.portfolio_id), dry_run=False)


def test_record_prints_one_line(home: Home, story: Story) -> None:
    """One line and exit code 0; 1 and one sentence for a bad file; 2 for wrong use."""
    written(home.folder, GOOD)

    done = home.run("record", "entries.json", "--portfolio", str(story.portfolio_id))
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert home.run("record", "entries.json").returncode == 2
    refused = home.run("record", "none.json", "--portfolio", str(story.portfolio_id))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("daybook: none.json: ")
    assert home.replay()[0] == 0
