"""Listening to a freqtrade that drops, repeats, forgets and talks nonsense: each edge becomes one signal all the same."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from api.cli import cli
from api.runtime.freqtrade_listener import rest_of
from api.runtime.settings import BadSettings, FreqtradeSettings, load_settings
from ledger.values import Instrument, time_text
from signals.inbound.freqtrade.edges import Edge
from signals.inbound.freqtrade.listener import QUIET_S, Emitted, FreqtradeListener, Source, websocket_of
from signals.inbound.freqtrade.rest import FreqtradeUnavailable
from signals.runner import signal_id
from tests.support.api_system import Daybook, open_daybook, problem_of
from tests.support.freqtrade_double import (
    PAIR,
    PASSWORD,
    USER,
    WS_TOKEN,
    FreqtradeDouble,
    five_minutes,
    freqtrade_double,
    message,
)
from tests.support.processes import free_port
from tests.support.waiting import until

LONGEST = timedelta(minutes=60)


@pytest.fixture
def freqtrade() -> Iterator[FreqtradeDouble]:
    """A freqtrade whose strategy has said nothing at three candles."""
    with freqtrade_double() as double:
        for number in range(3):
            double.candle(five_minutes(number), silent=True)
        yield double


class Ears:
    """A listener in a thread, the signals it gave, and the pauses it made; its clock is moved by hand."""

    def __init__(
        self,
        double: FreqtradeDouble,
        settings: FreqtradeSettings,
        kept: dict[UUID, str] | None = None,
        quiet_s: float = QUIET_S,
    ) -> None:
        self.now = five_minutes(3)
        self.signals: dict[UUID, str] = {} if kept is None else kept
        self.heard: list[str] = []
        self.pauses: list[float] = []
        self.fails = 0
        self.listener = FreqtradeListener(
            Source("ft", settings.pairs),
            rest_of(settings),
            websocket_of(settings.url, settings.ws_token.get_secret_value()),
            self.emit,
            lambda: self.now,
            lambda: LONGEST,
            self.pause,
            quiet_s,
        )
        self._ended = threading.Event()

    def emit(self, edge: Edge, instrument: Instrument) -> Emitted:
        if self.fails:
            self.fails -= 1
            return Emitted("later")
        found = signal_id(edge.signal(instrument, Decimal(1)))
        self.heard.append(edge.side)
        if found in self.signals:
            return Emitted("known")
        self.signals[found] = edge.side
        return Emitted("new")

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return self._ended.wait(0.01)

    def count(self, what: str) -> int:
        return (self.listener.listening.counts or {}).get(what, 0)

    def until(self, what: str, times: int = 1) -> None:
        until(lambda: self.count(what) >= times, f"{times} times {what}")

    def end(self) -> None:
        self._ended.set()
        self.listener.stop()


@contextmanager
def listening(
    double: FreqtradeDouble, kept: dict[UUID, str] | None = None, quiet_s: float = QUIET_S, **changes: Any
) -> Iterator[Ears]:
    """Listening to the double until the end of the block; connected, unless it cannot be."""
    ears = Ears(double, double.settings(**changes), kept, quiet_s)
    thread = threading.Thread(target=ears.listener.run, daemon=True)
    thread.start()
    try:
        if not changes:
            ears.until("frames")
        yield ears
    finally:
        ears.end()
        thread.join(20)
        assert not thread.is_alive()


def closes(ears: Ears, double: FreqtradeDouble, number: int, **said: Any) -> None:
    """Candle number so-and-so has closed, and freqtrade has told what its strategy says of it."""
    ears.now = five_minutes(number + 1)
    double.candle(five_minutes(number), **said)


def test_an_edge_on_the_socket_is_a_signal(freqtrade: FreqtradeDouble) -> None:
    """It subscribes, asks for what was before, and emits where a condition begins: not where it stands or is repeated."""
    with listening(freqtrade) as ears:
        closes(ears, freqtrade, 3, enter_long=1, enter_tag="breakout")
        closes(ears, freqtrade, 4, enter_long=1)
        freqtrade.say(message(freqtrade.rows[PAIR][-1:]))
        closes(ears, freqtrade, 5, exit_long=1)
        ears.until("signals_new", 2)
        ears.until("repeated")

    assert ears.heard == ["enter_long", "exit_long"]
    assert freqtrade.asked == [
        {"type": "subscribe", "data": ["analyzed_df", "status"]},
        {"type": "analyzed_df", "data": {"limit": 100, "pair": PAIR}},
    ]
    assert not any("status" in call for call in freqtrade.calls)


def test_what_was_missed_is_filled_in_after_a_lost_connection(freqtrade: FreqtradeDouble) -> None:
    """Candles that closed while the socket was away come by back-fill, once; pauses double only while nothing is heard."""
    with listening(freqtrade) as ears:
        freqtrade.accepts_sockets = False
        freqtrade.drop()
        until(lambda: not freqtrade.sockets, "the socket to go")
        closes(ears, freqtrade, 3, silent=True, enter_long=1)
        closes(ears, freqtrade, 4, silent=True, enter_long=1, exit_long=0)
        freqtrade.accepts_sockets = True
        ears.until("signals_new")
        ears.until("frames", 2)
        closes(ears, freqtrade, 5, exit_long=1)
        ears.until("signals_new", 2)

    assert ears.heard == ["enter_long", "exit_long"]
    assert ears.pauses[0] == 1.0


def test_a_socket_that_falls_silent_is_polled(freqtrade: FreqtradeDouble) -> None:
    """Rows that never come on an open connection are asked for over HTTP after the time that is borne."""
    with listening(freqtrade, quiet_s=0.05) as ears:
        closes(ears, freqtrade, 3, silent=True, enter_long=1)
        ears.until("signals_new")

        assert ears.listener.listening.connects == 1
    assert ears.heard == ["enter_long"]


def test_a_gap_on_the_socket_is_filled(freqtrade: FreqtradeDouble) -> None:
    """A message that never came leaves a row that cannot be judged; the rows are asked for again, and it is."""
    with listening(freqtrade) as ears:
        closes(ears, freqtrade, 3, silent=True)
        closes(ears, freqtrade, 4, enter_long=1)
        ears.until("signals_new")

        assert ears.count("backfills") == 2
    assert ears.heard == ["enter_long"]


def test_without_a_socket_it_polls(freqtrade: FreqtradeDouble) -> None:
    """While the websocket refuses, rows come over HTTP, pauses grow to a minute, and the problem names the token."""
    freqtrade.candle(five_minutes(3), silent=True, enter_long=1)
    with listening(freqtrade, ws_token=SecretStr("wrong")) as ears:
        ears.now = five_minutes(4)
        ears.until("polls", 8)
        problem = ears.listener.listening.problem

    assert ears.heard == ["enter_long"]
    assert ears.pauses[:8] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert "answers 403 to the websocket: compare ws_token" in problem
    assert "wrong" not in problem


def test_nonsense_is_counted_and_passed_over(freqtrade: FreqtradeDouble) -> None:
    """What is no JSON, no message or no frame changes nothing, whatever it is; what follows is heard."""
    nonsense = ["", "<html>", "[]", "null", '{"type": 5}', '{"type": "analyzed_df"}', "[" * 50_000, '{"a": NaN}']
    with listening(freqtrade) as ears:
        for text in nonsense:
            freqtrade.say(text)
        freqtrade.say(json.dumps({"type": "whitelist", "data": [PAIR]}))
        freqtrade.say(message(freqtrade.rows[PAIR][-1:], "DOGE/USDT"))
        closes(ears, freqtrade, 3, enter_long=1)
        ears.until("signals_new")

        assert ears.count("garbage") == len(nonsense)
        assert ears.count("unmapped_pair") == 1
        assert ears.listener.listening.connects == 1


def test_a_message_of_eight_megabytes_is_taken(freqtrade: FreqtradeDouble) -> None:
    """The largest message that freqtrade sends comes through; the next one is heard on the same connection."""
    wide = [row | {f"indicator_{n}": 0.123456789012345 for n in range(200)} for row in freqtrade.rows[PAIR] * 700]
    text = message(wide)
    text += " " * (8 * 1024 * 1024 - len(text))
    with listening(freqtrade) as ears:
        freqtrade.say(text)
        ears.until("frames", 2)
        closes(ears, freqtrade, 3, enter_long=1)
        ears.until("signals_new")

        assert len(text) >= 8 * 1024 * 1024
        assert ears.listener.listening.connects == 1


def test_unclosed_and_stale_rows_are_refused(freqtrade: FreqtradeDouble) -> None:
    """A row whose candle still runs, and an edge older than the policy allows, make no signal and are counted."""
    with listening(freqtrade) as ears:
        freqtrade.candle(five_minutes(3), enter_long=1)
        ears.until("unclosed")
        ears.now = five_minutes(30)
        freqtrade.say(message(freqtrade.rows[PAIR][-1:]))
        ears.until("stale")

    assert ears.heard == []


def test_what_the_database_could_not_take_is_tried_again(freqtrade: FreqtradeDouble) -> None:
    """A signal that could not be stored is not lost: the next message finds it due."""
    with listening(freqtrade) as ears:
        ears.fails = 1
        closes(ears, freqtrade, 3, enter_long=1)
        ears.until("signals_later")
        closes(ears, freqtrade, 4)
        ears.until("signals_new")

    assert ears.heard == ["enter_long"]


def test_after_a_restart_nothing_is_emitted_twice(freqtrade: FreqtradeDouble) -> None:
    """A listener that starts anew hears the same edges again, by the same ids."""
    kept: dict[UUID, str] = {}
    with listening(freqtrade, kept) as ears:
        closes(ears, freqtrade, 3, enter_long=1)
        ears.until("signals_new")
    with listening(freqtrade, kept) as again:
        again.now = five_minutes(4)
        freqtrade.say(message(freqtrade.rows[PAIR]))
        again.until("signals_known")

        assert again.count("signals_new") == 0
    assert list(kept.values()) == ["enter_long"]


def test_another_strategy_begins_anew(freqtrade: FreqtradeDouble) -> None:
    """When freqtrade says that it was reloaded, its strategy is asked for, and rows are that one's from then on."""
    with listening(freqtrade) as ears:
        closes(ears, freqtrade, 3, enter_long=1)
        ears.until("signals_new")
        freqtrade.strategy = "Other"
        freqtrade.say(json.dumps({"type": "status", "status": "reloaded"}))
        freqtrade.say(message(freqtrade.rows[PAIR]))
        ears.until("signals_new", 2)

    assert len(ears.signals) == 2


# ── over HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_freqtrade_is_asked_started_and_stopped(freqtrade: FreqtradeDouble) -> None:
    """State, health, pairs and commands go by the routes that are for them, with user name and password."""
    with rest_of(freqtrade.settings()) as rest:
        rest.ping()
        assert rest.show_config().problems() == []
        assert rest.health() == datetime.fromisoformat("2026-01-05T12:00:00Z")
        assert rest.whitelist() == [PAIR]
        rest.stop()
        assert rest.show_config().problems() == ["freqtrade is stopped: start it with daybook freqtrade start"]
        rest.start()
        assert freqtrade.state == "running"
    freqtrade.dry_run, freqtrade.max_open_trades = False, 3
    with rest_of(freqtrade.settings()) as rest:
        assert [problem.split(":")[0] for problem in rest.show_config().problems()] == [
            "freqtrade trades for itself with real money",
            "freqtrade opens trades of its own",
        ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": SecretStr("wrong")}, "refuses the user name and password"),
        ({"url": f"http://127.0.0.1:{free_port()}"}, "does not answer"),
    ],
)
def test_what_is_wrong_with_freqtrade_is_a_sentence(
    freqtrade: FreqtradeDouble, changes: dict[str, Any], words: str
) -> None:
    """A wrong password and a freqtrade that is not there are each told, without the password."""
    with rest_of(freqtrade.settings(**changes)) as rest, pytest.raises(FreqtradeUnavailable) as caught:
        rest.show_config()
    assert words in str(caught.value)
    assert "wrong" not in str(caught.value)


# ── in a running Daybook ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def daybook(freqtrade: FreqtradeDouble, database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A Daybook that listens to the freqtrade."""
    with open_daybook(database_url, tmp_path, freqtrade=freqtrade.settings()) as running:
        running.pass_seconds(3)
        yield running


def told(daybook: Daybook, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What GET /freqtrade says once that is so."""

    def found() -> dict[str, Any] | None:
        answer: dict[str, Any] = daybook.read("freqtrade")
        return answer if condition(answer) else None

    answer = until(found, "freqtrade to be heard")
    assert answer is not None
    return answer


def test_a_signal_of_freqtrade_goes_through_review(daybook: Daybook, freqtrade: FreqtradeDouble) -> None:
    """An edge is an event in freqtrade's name; review says not yet, hears it again at the next candle, and is content."""
    told(daybook, lambda answer: answer["connected"])
    now = daybook.system.market_clock()
    for minutes, said in ((10, 0), (5, 1)):
        freqtrade.candle(now - timedelta(minutes=minutes), enter_long=said)

    answer = told(daybook, lambda answer: answer["counts"].get("signals_new") == 1)

    assert (answer["state"], answer["strategy"], answer["problems"]) == ("running", "Trend", [])
    (signal,) = daybook.read("signals", bot_id="freqtrade:freqtrade")["items"]
    daybook.pass_seconds(5)
    freqtrade.candle(now, enter_long=1)
    told(daybook, lambda answer: answer["counts"].get("signals_new") == 2)
    again = daybook.read("signals", bot_id="freqtrade:freqtrade")["items"][0]
    assert (signal["score"], signal["status"], signal["product_id"]) == ("1", "rejected", "BTC-USD")
    assert "enter_long BTC/USDT 5m" in signal["note"]
    assert (again["status"], again["asof"]) == ("approved", time_text(now + timedelta(minutes=5)))
    assert daybook.read(f"signals/{signal['signal_id']}")["story"][0]["actor"] == "freqtrade:freqtrade"


def test_freqtrade_is_started_and_stopped_through_daybook(daybook: Daybook, freqtrade: FreqtradeDouble) -> None:
    """Each command reaches freqtrade once, however often it is sent; one that cannot reach it says so and may be repeated."""
    told(daybook, lambda answer: answer["connected"])
    stopped = daybook.post("freqtrade/stop", None, "stop")
    assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    assert daybook.post("freqtrade/stop", None, "stop").content == stopped.content
    assert freqtrade.calls.count("POST stop") == 1
    assert daybook.post("freqtrade/start", None, "start").json()["state"] == "running"


def test_without_a_freqtrade_there_is_none(database_url: str, tmp_path: Path) -> None:
    """Where none is configured its routes say so, and how to add one; where it is away, that is told and nothing breaks."""
    with open_daybook(database_url, tmp_path) as running:
        answer = running.get("freqtrade")
        assert (answer.status_code, problem_of(answer)) == (404, "no-freqtrade")
        assert "add a table [freqtrade]" in answer.json()["detail"]
    away = FreqtradeDouble(free_port()).settings()
    with open_daybook(database_url, tmp_path, freqtrade=away) as running:
        found = running.read("freqtrade")
        assert (found["state"], found["connected"]) == (None, False)
        assert "does not answer" in found["problems"][0]
        answer = running.post("freqtrade/start", None, "start")
        assert (answer.status_code, problem_of(answer)) == (503, "freqtrade-unavailable")


# ── settings and command ─────────────────────────────────────────────────────────────────────────────────────────────


def environment(double: FreqtradeDouble, **changes: str) -> dict[str, str]:
    own = {
        "URL": f"http://127.0.0.1:{double.port}",
        "USERNAME": USER,
        "PASSWORD": PASSWORD,
        "WS_TOKEN": WS_TOKEN,
        "PAIRS": json.dumps({PAIR: "BTC-USD"}),
    }
    return {f"DAYBOOK_FREQTRADE__{name}": value for name, value in (own | changes).items()}


def test_the_command_checks_shows_starts_and_stops(freqtrade: FreqtradeDouble) -> None:
    """`daybook freqtrade` says that all is well, or each thing that is wrong with what to do; secrets are not shown."""

    def run(*words: str, **changes: str) -> Result:
        return CliRunner().invoke(cli, ["freqtrade", *words], env=environment(freqtrade, **changes))

    assert (run("check").exit_code, "No problems" in run("check").stdout) == (0, True)
    assert json.loads(run("state", "--json").stdout)["strategy"] == "Trend 3"
    assert (run("stop").stdout, freqtrade.state) == ("freqtrade: stoping trader ...\n", "stopped")
    freqtrade.max_open_trades = 3
    pairs = json.dumps({PAIR: "BTC-USD", "ETH/USDT": "ETH-USD"})
    wrong = run("check", WS_TOKEN="not-theirs", PAIRS=pairs)
    assert wrong.exit_code == 1
    assert [line.partition(": ")[2][:26] for line in wrong.stdout.splitlines()] == [
        "freqtrade is stopped: star",
        "freqtrade opens trades of ",
        "freqtrade does not watch E",
        "freqtrade answers 403 to t",
    ]
    assert "not-theirs" not in wrong.stdout
    assert (run("start").exit_code, freqtrade.state) == (0, "running")
    away = run("start", URL=f"http://127.0.0.1:{free_port()}")
    assert (away.exit_code, away.stderr.startswith("daybook: freqtrade at http")) == (1, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"URL": "http://example.com:8080"}, "must be http://127.0.0.1:PORT on this machine, or https"),
        ({"PAIRS": "{}"}, "pairs"),
        ({"PAIRS": "BTC"}, "must be a JSON object"),
        ({"PAIRS": '{"BTC/USDT": "BTC-USD", "BTC/USD": "BTC-USD"}'}, "two pairs map to one product"),
        ({"PAIRS": '{"BTC/USDT": "btc"}'}, "is not an instrument such as BTC-USD"),
        ({"NAME": "a b"}, "name"),
        ({"TOKEN": "x"}, "token"),
    ],
)
def test_settings_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], words: str
) -> None:
    """A url of the open network in the clear, a wrong map and unknown names are told, and no secret is."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment(FreqtradeDouble(8080), **changes).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(BadSettings) as caught:
        load_settings()

    assert words in str(caught.value)
    assert PASSWORD not in str(caught.value)
