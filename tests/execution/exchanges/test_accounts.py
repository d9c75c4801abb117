"""Accounts at venues: keys are encrypted and never shown, and the portfolio is traded at its venue."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psycopg
import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from api.cli import cli
from api.runtime.accounts import Accounts, BadAccount
from api.runtime.settings import BadSettings, Settings
from api.runtime.wiring import open_system
from execution.exchanges.simulated.server import KEY, SECRET, SimulatedVenue
from execution.review.review import ManualTicket
from ledger.events import (
    CashDeposited,
    DifferenceFound,
    MarkRecorded,
    OpeningLotRecorded,
    OrderSubmitted,
    TradeExecuted,
)
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import connected
from ledger.projections.portfolio import portfolio_id_of
from ledger.values import Instrument, Side, derived_id, system_clock
from signals.market.candle import BadFeed, FeedUnavailable
from tests.support.api_system import API, open_daybook, problem_of

FEED = "ccxt:binance?instrument=BTC-USDT"
UNREACHED = "the market cannot be reached (live candles of binance): Daybook keeps trying"


@pytest.fixture
def venue() -> Iterator[SimulatedVenue]:
    running = SimulatedVenue("binance", system_clock)
    yield running
    running.stop()


@pytest.fixture
def folder(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of an installation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAYBOOK_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DAYBOOK_DATABASE_URL", database_url)
    return tmp_path


def run(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(cli, ["accounts", *words], input=stdin)


def added(venue: SimulatedVenue, *more: str, secret: str = SECRET) -> Result:
    """Run the command that adds the venue's account to the portfolio "mine", with its secret on standard input."""
    words = ("--venue", "binance", "--name", "main", "--key", KEY, "--portfolio", "mine", "--endpoint", venue.url)
    return run("add", *words, *more, stdin=secret + "\n")


def settings_of(folder: Path, database_url: str, feed: str = FEED) -> Settings:
    return Settings(data_dir=folder, database_url=SecretStr(database_url), feed=feed, portfolio="mine")


def test_accounts_add_records_holdings_and_hides_the_key(
    venue: SimulatedVenue, folder: Path, superuser: psycopg.Connection[tuple[bytes]]
) -> None:
    """Holdings become opening entries; output, list and database contain neither key nor secret in clear text."""
    done = added(venue, "--create", "--base", "USDT", "--adopt")
    listed = run("list", "--json")

    assert done.exit_code == 0, done.output
    assert CashDeposited.type in done.output
    assert OpeningLotRecorded.type in done.output
    (account,) = json.loads(listed.output)
    assert (account["account"], account["mode"], account["endpoint"]) == ("main", "test", venue.url)
    (sealed,) = superuser.execute("select sealed from venue_accounts").fetchone() or (b"",)
    for text in (done.output.encode(), listed.output.encode(), bytes(sealed)):
        assert KEY.encode() not in text
        assert SECRET.encode() not in text
    assert (folder / "installation.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("more", "secret", "message"),
    [
        (("--create", "--base", "USDT"), "wrong", "the account was not added: cannot read balances of binance"),
        ((), SECRET, "there is no portfolio called 'mine'"),
        (("--create",), SECRET, "--create and --base must be given together"),
        (("--live", "--yes"), SECRET, "--live cannot be combined with a local --endpoint"),
        (("--endpoint", "http://example.com"), SECRET, "is not a local address"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_accounts_add_rejects_wrong_input(
    venue: SimulatedVenue, more: tuple[str, ...], secret: str, message: str
) -> None:
    """A wrong key, an unknown portfolio, incomplete options and a foreign address store nothing."""
    done = added(venue, *more, secret=secret)

    assert done.exit_code in (1, 2)
    assert message in done.output
    assert json.loads(run("list", "--json").output) == []


def test_key_is_decrypted_only_for_its_installation_and_account(
    venue: SimulatedVenue, folder: Path, database_url: str
) -> None:
    """Decryption fails with another installation's key, and for another account."""
    assert added(venue, "--create", "--base", "USDT").exit_code == 0
    with connected(database_url) as engine:
        book = PostgresBook(engine, system_clock)
        with pytest.raises(BadAccount, match="another installation"):
            Accounts(book, bytes(32), system_clock).exchanges(portfolio_id_of("mine"))
        with book.transaction() as connection:
            connection.execute("update venue_accounts set account = 'other'")
        own = bytes.fromhex((folder / "installation.key").read_text())
        with pytest.raises(BadAccount, match="account 'other'"):
            Accounts(book, own, system_clock).exchanges(portfolio_id_of("mine"))


def test_accounts_add_rejects_a_key_that_may_withdraw(venue: SimulatedVenue, folder: Path) -> None:
    """If the venue reports that the key may withdraw, nothing is stored."""
    httpx.post(f"{venue.url}/control/faults", json={"name": "withdrawals"}).raise_for_status()
    refused = added(venue, "--create", "--base", "USDT")
    assert refused.exit_code == 1
    assert "may withdraw from binance" in refused.output
    assert "No accounts" in run("list").output
    assert added(venue, "--create", "--base", "USDT").exit_code == 0


def test_accounts_remove_deletes_the_key(venue: SimulatedVenue, folder: Path) -> None:
    """Removing the account a second time fails."""
    assert added(venue, "--create", "--base", "USDT").exit_code == 0

    assert run("remove", "--name", "main", "--portfolio", "mine").exit_code == 0
    again = run("remove", "--name", "main", "--portfolio", "mine")
    assert again.exit_code == 1
    assert "has no key for an account 'main'" in again.output
    assert (folder / "installation.key").exists()


def test_portfolio_with_an_account_is_traded_at_the_venue(
    venue: SimulatedVenue, folder: Path, database_url: str
) -> None:
    """With market and account at the venue, an order is sent there and its fill is recorded."""
    assert added(venue, "--create", "--base", "USDT", "--adopt").exit_code == 0

    with open_system(settings_of(folder, database_url)) as system:
        assert system.accounts == (f"main at binance (test at {venue.url})",)
        system.loop.tick()
        ticket = ManualTicket(
            instrument=Instrument("BTC-USDT"),
            side=Side.BUY,
            kind="market",
            base_size=None,
            quote_size=venue.shape.matching.prices[Instrument("BTC-USDT")] / 100,
            limit_price=None,
            account="main",
        )
        order_id: UUID = derived_id("an order")
        system.trader.request(ticket, order_id, system.leadership.record)
        events = [one.event for one in system.book.log.read(system.portfolio_id)]

    assert [type(one) for one in events if isinstance(one, OrderSubmitted | TradeExecuted | DifferenceFound)] == [
        OrderSubmitted,
        TradeExecuted,
    ]
    assert len(httpx.get(f"{venue.url}/control/orders").json()) == 1


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (
            {"type": "limit", "side": "buy", "quote_size": "100", "limit_price": "50000"},
            "binance takes limit orders sized in base only",
        ),
        pytest.param({"type": "market", "side": "sell", "base_size": "0.001"}, None, marks=pytest.mark.campaign),
    ],
)
def test_order_with_unsupported_terms_is_rejected_before_it_is_stored(
    venue: SimulatedVenue, folder: Path, database_url: str, terms: dict[str, str], reason: str | None
) -> None:
    """The response has the reason from the venue's declared facts."""
    assert added(venue, "--create", "--base", "USDT", "--adopt").exit_code == 0

    with open_daybook(database_url, folder, FEED, portfolio="mine") as daybook:
        daybook.system.loop.tick()
        before = daybook.head()
        answer = daybook.post("trades/execute", {"product_id": "BTC-USDT", **terms}, "an order")
        if reason is None:
            assert answer.status_code == 201, answer.text
        else:
            assert (problem_of(answer), answer.json()["detail"]) == ("order-rejected:terms-taken", reason)
            assert daybook.head() == before
            assert httpx.get(f"{venue.url}/control/orders").json() == []


def test_daybook_starts_without_its_market_and_recovers(venue: SimulatedVenue, folder: Path, database_url: str) -> None:
    """An unreachable market is reported; everything else works, and each tick tries again."""
    assert added(venue, "--create", "--base", "USDT", "--adopt").exit_code == 0
    port = urlsplit(venue.url).port or 0
    venue.stop()

    with open_daybook(database_url, folder, FEED, portfolio="mine") as daybook:
        away = daybook.get("/health/ready")
        assert (away.status_code, away.json()["problems"]) == (503, [UNREACHED])
        assert UNREACHED in daybook.read("/health/trading")["problems"]
        assert daybook.read(f"{API}/portfolio/")["name"] == "mine"
        with pytest.raises(FeedUnavailable):
            daybook.pass_seconds(1)
        back = SimulatedVenue("binance", system_clock, port)
        try:
            daybook.pass_seconds(1)
        finally:
            back.stop()

        assert daybook.read("/health/ready")["problems"] == []
        assert [
            one
            for one in daybook.system.book.log.read(daybook.system.portfolio_id)
            if isinstance(one.event, MarkRecorded)
        ]


def test_start_fails_for_a_product_the_venue_does_not_trade(
    venue: SimulatedVenue, folder: Path, database_url: str
) -> None:
    """Errors that retrying cannot fix end the start."""
    assert added(venue, "--create", "--base", "USDT").exit_code == 0
    unknown = settings_of(folder, database_url, "ccxt:binance?instrument=NONE-USDT")

    with pytest.raises(BadFeed, match="binance does not trade NONE-USDT"), open_system(unknown):
        pass


def test_portfolio_without_paper_account_has_no_fill_assumptions(
    venue: SimulatedVenue, folder: Path, database_url: str
) -> None:
    """The assumptions of paper fills are omitted when the only account is at a venue."""
    assert added(venue, "--create", "--base", "USDT", "--adopt").exit_code == 0

    with open_daybook(database_url, folder, FEED, portfolio="mine") as daybook:
        answer = daybook.read(f"{API}/portfolio/")
    assert (answer["name"], answer["mode"], answer["assumptions"]) == ("mine", "paper", None)


def test_accounts_need_a_live_market(venue: SimulatedVenue, folder: Path, database_url: str) -> None:
    """The start fails for a recorded or simulated market with a real account."""
    assert added(venue, "--create", "--base", "USDT").exit_code == 0
    played = settings_of(folder, database_url, "simulated?instrument=BTC-USDT")

    with pytest.raises(BadSettings, match="need a live market"), open_system(played):
        pass
