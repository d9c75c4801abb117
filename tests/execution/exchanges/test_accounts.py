"""Accounts at venues: their keys are sealed and shown nowhere, and the portfolio that has them is traded there."""

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
    """An installation's folder, which the settings name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAYBOOK_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DAYBOOK_DATABASE_URL", database_url)
    return tmp_path


def run(*words: str, told: str = "") -> Result:
    return CliRunner().invoke(cli, ["accounts", *words], input=told)


def added(venue: SimulatedVenue, *more: str, secret: str = SECRET) -> Result:
    """The command that adds the venue's account to the portfolio "mine", its secret read from standard input."""
    words = ("--venue", "binance", "--name", "main", "--key", KEY, "--portfolio", "mine", "--endpoint", venue.url)
    return run("add", *words, *more, told=secret + "\n")


def settings_of(folder: Path, database_url: str, feed: str = FEED) -> Settings:
    return Settings(data_dir=folder, database_url=SecretStr(database_url), feed=feed, portfolio="mine")


def test_an_account_is_added_with_what_it_holds_and_its_key_shown_nowhere(
    venue: SimulatedVenue, folder: Path, superuser: psycopg.Connection[tuple[bytes]]
) -> None:
    """Holdings become opening entries; neither output, nor list, nor database holds the key or the secret in the clear."""
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
    ("more", "secret", "said"),
    [
        (("--create", "--base", "USDT"), "wrong", "the account was not added: cannot read balances of binance"),
        ((), SECRET, "there is no portfolio called 'mine'"),
        (("--create",), SECRET, "--create and --base must be given together"),
        (("--live", "--yes"), SECRET, "--live cannot be combined with a local --endpoint"),
        (("--endpoint", "http://example.com"), SECRET, "is not an address on this machine"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_added_is_said_in_one_sentence(
    venue: SimulatedVenue, more: tuple[str, ...], secret: str, said: str
) -> None:
    """A wrong key, no portfolio, half an option, a foreign address: one sentence, and nothing is stored."""
    done = added(venue, *more, secret=secret)

    assert done.exit_code in (1, 2)
    assert said in done.output
    assert json.loads(run("list", "--json").output) == []


def test_a_sealed_key_opens_with_its_installation_and_account_only(
    venue: SimulatedVenue, folder: Path, database_url: str
) -> None:
    """Another installation's key, or the same text under another account, opens nothing."""
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


def test_a_key_that_may_withdraw_is_refused(venue: SimulatedVenue, folder: Path) -> None:
    """Where the venue tells what a key may do, one that may withdraw opens no account, and nothing is stored."""
    httpx.post(f"{venue.url}/control/faults", json={"name": "withdrawals"}).raise_for_status()
    refused = added(venue, "--create", "--base", "USDT")
    assert refused.exit_code == 1
    assert "may withdraw from binance" in refused.output
    assert "No accounts" in run("list").output
    assert added(venue, "--create", "--base", "USDT").exit_code == 0


def test_a_removed_account_is_gone(venue: SimulatedVenue, folder: Path) -> None:
    """Its key is forgotten; a second time there is nothing to remove."""
    assert added(venue, "--create", "--base", "USDT").exit_code == 0

    assert run("remove", "--name", "main", "--portfolio", "mine").exit_code == 0
    again = run("remove", "--name", "main", "--portfolio", "mine")
    assert again.exit_code == 1
    assert "has no key for an account 'main'" in again.output
    assert (folder / "installation.key").exists()


def test_the_portfolio_is_traded_at_the_venue_on_the_venues_own_market(
    venue: SimulatedVenue, folder: Path, database_url: str
) -> None:
    """The whole program, its market and its account at the venue: an order goes there, and its fill comes back."""
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
        told = [one.event for one in system.book.log.read(system.portfolio_id)]

    assert [type(one) for one in told if isinstance(one, OrderSubmitted | TradeExecuted | DifferenceFound)] == [
        OrderSubmitted,
        TradeExecuted,
    ]
    assert len(httpx.get(f"{venue.url}/control/orders").json()) == 1


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (
            {"type": "limit", "side": "buy", "quote_size": "100", "limit_price": "50000"},
            "binance takes limit orders sized in base only",
        ),
        ({"type": "market", "side": "sell", "base_size": "0.001"}, None),
    ],
)
def test_what_the_venue_does_not_take_is_refused_in_the_command(
    venue: SimulatedVenue, folder: Path, database_url: str, terms: dict[str, str], said: str | None
) -> None:
    """Its declared facts are known before anything is stored or sent: the command is answered with the reason."""
    assert added(venue, "--create", "--base", "USDT", "--adopt").exit_code == 0

    with open_daybook(database_url, folder, FEED, portfolio="mine") as daybook:
        daybook.system.loop.tick()
        before = daybook.head()
        answer = daybook.post("trades/execute", {"product_id": "BTC-USDT", **terms}, "an order")
        if said is None:
            assert answer.status_code == 201, answer.text
        else:
            assert (problem_of(answer), answer.json()["detail"]) == ("order-rejected:terms-taken", said)
            assert daybook.head() == before
            assert httpx.get(f"{venue.url}/control/orders").json() == []


def test_daybook_comes_up_without_its_market_and_goes_on_when_that_answers(
    venue: SimulatedVenue, folder: Path, database_url: str
) -> None:
    """A market that cannot be reached at the start is told, not the end: all else works, and each turn asks it again."""
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


def test_what_no_waiting_mends_ends_the_start(venue: SimulatedVenue, folder: Path, database_url: str) -> None:
    """A product that the venue does not trade stays an error, in one sentence."""
    assert added(venue, "--create", "--base", "USDT").exit_code == 0
    unknown = settings_of(folder, database_url, "ccxt:binance?instrument=NONE-USDT")

    with pytest.raises(BadFeed, match="binance does not trade NONE-USDT"), open_system(unknown):
        pass


def test_what_is_filled_at_a_venue_rests_on_no_assumptions_of_ours(
    venue: SimulatedVenue, folder: Path, database_url: str
) -> None:
    """A portfolio whose only account is at a venue is not told how paper orders fill."""
    assert added(venue, "--create", "--base", "USDT", "--adopt").exit_code == 0

    with open_daybook(database_url, folder, FEED, portfolio="mine") as daybook:
        told = daybook.read(f"{API}/portfolio/")
    assert (told["name"], told["mode"], told["assumptions"]) == ("mine", "paper", None)


def test_accounts_need_a_market_in_real_time(venue: SimulatedVenue, folder: Path, database_url: str) -> None:
    """A recorded or simulated market and a real account do not go together, which is said at the start."""
    assert added(venue, "--create", "--base", "USDT").exit_code == 0
    played = settings_of(folder, database_url, "simulated?instrument=BTC-USDT")

    with pytest.raises(BadSettings, match="need a market in real time"), open_system(played):
        pass
