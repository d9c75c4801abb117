"""The listener of a freqtrade that drops, repeats and garbles messages: each edge still becomes one signal."""

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
from tests.support.bots.freqtrade_double import (
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
    """A freqtrade with three candles without a condition."""
    with freqtrade_double() as double:
        for number in range(3):
            double.candle(five_minutes(number), silent=True)
        yield double


class Recorder:
    """A listener in a thread with its signals and pauses; its clock is set by the test."""

    def __init__(
        self,
        double: FreqtradeDouble,
        settings: FreqtradeSettings,
        kept: dict[UUID, str] | None = None,
        quiet_s: float = QUIET_S,
    ) -> None:
        self.now = five_minutes(3)
        self.signals: dict[UUID, str] = {} if kept is None else kept
        self.emitted: list[str] = []
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
        self.emitted.append(edge.side)
        if found in self.signals:
            return Emitted("known")
        self.signals[found] = edge.side
        return Emitted("new")

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return self._ended.wait(0.01)

    def count(self, name: str) -> int:
        return (self.listener.listening.counts or {}).get(name, 0)

    def until(self, name: str, times: int = 1) -> None:
        until(lambda: self.count(name) >= times, f"{times} times {name}")

    def end(self) -> None:
        self._ended.set()
        self.listener.stop()


@contextmanager
def listening(
    double: FreqtradeDouble, kept: dict[UUID, str] | None = None, quiet_s: float = QUIET_S, **changes: Any
) -> Iterator[Recorder]:
    """Listen to the double until the end of the block; connected, unless settings are changed."""
    recorder = Recorder(double, double.settings(**changes), kept, quiet_s)
    thread = threading.Thread(target=recorder.listener.run, daemon=True)
    thread.start()
    try:
        if not changes:
            recorder.until("frames")
        yield recorder
    finally:
        recorder.end()
        thread.join(20)
        assert not thread.is_alive()


def closes(recorder: Recorder, double: FreqtradeDouble, number: int, **columns: Any) -> None:
    """Close a candle, and send its row."""
    recorder.now = five_minutes(number + 1)
    double.candle(five_minutes(number), **columns)


def test_listener_emits_an_edge_from_the_websocket(freqtrade: FreqtradeDouble) -> None:
    """It subscribes, requests earlier rows, and emits where a condition begins, not where it continues or repeats."""
    with listening(freqtrade) as recorder:
        closes(recorder, freqtrade, 3, enter_long=1, enter_tag="breakout")
        closes(recorder, freqtrade, 4, enter_long=1)
        freqtrade.send_text(message(freqtrade.rows[PAIR][-1:]))
        closes(recorder, freqtrade, 5, exit_long=1)
        recorder.until("signals_new", 2)
        recorder.until("repeated")

    assert recorder.emitted == ["enter_long", "exit_long"]
    assert freqtrade.requests == [
        {"type": "subscribe", "data": ["analyzed_df", "status"]},
        {"type": "analyzed_df", "data": {"limit": 100, "pair": PAIR}},
    ]
    assert not any("status" in call for call in freqtrade.calls)


def test_listener_backfills_after_a_lost_connection(freqtrade: FreqtradeDouble) -> None:
    """Candles that closed meanwhile arrive once; the back-off restarts at one second."""
    with listening(freqtrade) as recorder:
        freqtrade.accepts_sockets = False
        freqtrade.drop()
        until(lambda: not freqtrade.sockets, "the socket to close")
        closes(recorder, freqtrade, 3, silent=True, enter_long=1)
        closes(recorder, freqtrade, 4, silent=True, enter_long=1, exit_long=0)
        freqtrade.accepts_sockets = True
        recorder.until("signals_new")
        recorder.until("frames", 2)
        closes(recorder, freqtrade, 5, exit_long=1)
        recorder.until("signals_new", 2)

    assert recorder.emitted == ["enter_long", "exit_long"]
    assert recorder.pauses[0] == 1.0


def test_listener_polls_when_the_websocket_is_quiet(freqtrade: FreqtradeDouble) -> None:
    with listening(freqtrade, quiet_s=0.05) as recorder:
        closes(recorder, freqtrade, 3, silent=True, enter_long=1)
        recorder.until("signals_new")

        assert recorder.listener.listening.connects == 1
    assert recorder.emitted == ["enter_long"]


def test_listener_requests_a_missing_row(freqtrade: FreqtradeDouble) -> None:
    """The edge after the missing row is emitted when the row has arrived."""
    with listening(freqtrade) as recorder:
        closes(recorder, freqtrade, 3, silent=True)
        closes(recorder, freqtrade, 4, enter_long=1)
        recorder.until("signals_new")

        assert recorder.count("backfills") == 2
    assert recorder.emitted == ["enter_long"]


def test_listener_polls_with_back_off_while_the_websocket_is_refused(freqtrade: FreqtradeDouble) -> None:
    """The back-off grows to a minute, and the problem names the token setting."""
    freqtrade.candle(five_minutes(3), silent=True, enter_long=1)
    with listening(freqtrade, ws_token=SecretStr("wrong")) as recorder:
        recorder.now = five_minutes(4)
        recorder.until("polls", 8)
        problem = recorder.listener.listening.problem

    assert recorder.emitted == ["enter_long"]
    assert recorder.pauses[:8] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert "refused the websocket (status 403): compare ws_token" in problem
    assert "wrong" not in problem


def test_listener_counts_and_ignores_garbage(freqtrade: FreqtradeDouble) -> None:
    """Later messages are processed."""
    garbage = ["", "<html>", "[]", "null", '{"type": 5}', '{"type": "analyzed_df"}', "[" * 50_000, '{"a": NaN}']
    with listening(freqtrade) as recorder:
        for text in garbage:
            freqtrade.send_text(text)
        freqtrade.send_text(json.dumps({"type": "whitelist", "data": [PAIR]}))
        freqtrade.send_text(message(freqtrade.rows[PAIR][-1:], "DOGE/USDT"))
        closes(recorder, freqtrade, 3, enter_long=1)
        recorder.until("signals_new")

        assert recorder.count("garbage") == len(garbage)
        assert recorder.count("unmapped_pair") == 1
        assert recorder.listener.listening.connects == 1


def test_listener_accepts_a_message_of_eight_megabytes(freqtrade: FreqtradeDouble) -> None:
    """The largest that freqtrade sends; the connection stays open."""
    wide = [row | {f"indicator_{n}": 0.123456789012345 for n in range(200)} for row in freqtrade.rows[PAIR] * 700]
    text = message(wide)
    text += " " * (8 * 1024 * 1024 - len(text))
    with listening(freqtrade) as recorder:
        freqtrade.send_text(text)
        recorder.until("frames", 2)
        closes(recorder, freqtrade, 3, enter_long=1)
        recorder.until("signals_new")

        assert len(text) >= 8 * 1024 * 1024
        assert recorder.listener.listening.connects == 1


def test_listener_ignores_unclosed_and_stale_rows(freqtrade: FreqtradeDouble) -> None:
    """Both are counted."""
    with listening(freqtrade) as recorder:
        freqtrade.candle(five_minutes(3), enter_long=1)
        recorder.until("unclosed")
        recorder.now = five_minutes(30)
        freqtrade.send_text(message(freqtrade.rows[PAIR][-1:]))
        recorder.until("stale")

    assert recorder.emitted == []


def test_listener_retries_a_signal_that_could_not_be_stored(freqtrade: FreqtradeDouble) -> None:
    with listening(freqtrade) as recorder:
        recorder.fails = 1
        closes(recorder, freqtrade, 3, enter_long=1)
        recorder.until("signals_later")
        closes(recorder, freqtrade, 4)
        recorder.until("signals_new")

    assert recorder.emitted == ["enter_long"]


def test_listener_gives_the_same_ids_after_a_restart(freqtrade: FreqtradeDouble) -> None:
    kept: dict[UUID, str] = {}
    with listening(freqtrade, kept) as recorder:
        closes(recorder, freqtrade, 3, enter_long=1)
        recorder.until("signals_new")
    with listening(freqtrade, kept) as again:
        again.now = five_minutes(4)
        freqtrade.send_text(message(freqtrade.rows[PAIR]))
        again.until("signals_known")

        assert again.count("signals_new") == 0
    assert list(kept.values()) == ["enter_long"]


def test_listener_adopts_a_reloaded_strategy(freqtrade: FreqtradeDouble) -> None:
    """Rows after the reload belong to the new strategy."""
    with listening(freqtrade) as recorder:
        closes(recorder, freqtrade, 3, enter_long=1)
        recorder.until("signals_new")
        freqtrade.strategy = "Other"
        freqtrade.send_text(json.dumps({"type": "status", "status": "reloaded"}))
        freqtrade.send_text(message(freqtrade.rows[PAIR]))
        recorder.until("signals_new", 2)

    assert len(recorder.signals) == 2


# ── over HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rest_reads_state_and_sends_commands(freqtrade: FreqtradeDouble) -> None:
    """With user name and password."""
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
        ({"password": SecretStr("wrong")}, "user name or password refused"),
        ({"url": f"http://127.0.0.1:{free_port()}"}, "no response"),
    ],
)
def test_rest_reports_a_wrong_password_and_a_missing_freqtrade(
    freqtrade: FreqtradeDouble, changes: dict[str, Any], words: str
) -> None:
    """Without showing the password."""
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


def freqtrade_when(daybook: Daybook, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The answer of GET /freqtrade as soon as it meets the condition."""

    def found() -> dict[str, Any] | None:
        answer: dict[str, Any] = daybook.read("freqtrade")
        return answer if condition(answer) else None

    answer = until(found, "the state of freqtrade")
    assert answer is not None
    return answer


def test_freqtrade_signal_is_reviewed(daybook: Daybook, freqtrade: FreqtradeDouble) -> None:
    """Review defers the first one and approves the same side at the next candle."""
    freqtrade_when(daybook, lambda answer: answer["connected"])
    now = daybook.system.market_clock()
    for minutes, entering in ((10, 0), (5, 1)):
        freqtrade.candle(now - timedelta(minutes=minutes), enter_long=entering)

    answer = freqtrade_when(daybook, lambda answer: answer["counts"].get("signals_new") == 1)

    assert (answer["state"], answer["strategy"], answer["problems"]) == ("running", "Trend", [])
    (signal,) = daybook.read("signals", bot_id="freqtrade:freqtrade")["items"]
    daybook.pass_seconds(5)
    freqtrade.candle(now, enter_long=1)
    freqtrade_when(daybook, lambda answer: answer["counts"].get("signals_new") == 2)
    again = daybook.read("signals", bot_id="freqtrade:freqtrade")["items"][0]
    assert (signal["score"], signal["status"], signal["product_id"]) == ("1", "rejected", "BTC-USD")
    assert "enter_long BTC/USDT 5m" in signal["note"]
    assert (again["status"], again["asof"]) == ("approved", time_text(now + timedelta(minutes=5)))
    assert daybook.read(f"signals/{signal['signal_id']}")["story"][0]["actor"] == "freqtrade:freqtrade"


def test_freqtrade_commands_are_sent_once(daybook: Daybook, freqtrade: FreqtradeDouble) -> None:
    """A repeated idempotency key returns the stored answer."""
    freqtrade_when(daybook, lambda answer: answer["connected"])
    stopped = daybook.post("freqtrade/stop", None, "stop")
    assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    assert daybook.post("freqtrade/stop", None, "stop").content == stopped.content
    assert freqtrade.calls.count("POST stop") == 1
    assert daybook.post("freqtrade/start", None, "start").json()["state"] == "running"


def test_freqtrade_routes_without_a_configured_or_running_freqtrade(database_url: str, tmp_path: Path) -> None:
    """404 with instructions without a configuration; 503 while it does not respond."""
    with open_daybook(database_url, tmp_path) as running:
        answer = running.get("freqtrade")
        assert (answer.status_code, problem_of(answer)) == (404, "no-freqtrade")
        assert "add a table [freqtrade]" in answer.json()["detail"]
    away = FreqtradeDouble(free_port()).settings()
    with open_daybook(database_url, tmp_path, freqtrade=away) as running:
        found = running.read("freqtrade")
        assert (found["state"], found["connected"]) == (None, False)
        assert "no response" in found["problems"][0]
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


def test_freqtrade_command_checks_shows_starts_and_stops(freqtrade: FreqtradeDouble) -> None:
    """`check` lists every problem with its remedy; secrets are not shown."""

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
        "freqtrade refused the webs",
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
def test_freqtrade_settings_refuse_invalid_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], words: str
) -> None:
    """Plain HTTP to another host, a wrong map and unknown names; the message contains no secret."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment(FreqtradeDouble(8080), **changes).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(BadSettings) as caught:
        load_settings()

    assert words in str(caught.value)
    assert PASSWORD not in str(caught.value)
