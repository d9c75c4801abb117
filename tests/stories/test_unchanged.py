"""Logs, HTTP answers, commands and all names that programs parse agree with recorded ones.

A difference means that a change is visible from outside. If it is intended, `RECORD=1 pytest tests/stories/test_unchanged.py`
records `tests/samples/unchanged/*.json` again. Sentences for humans are not compared, except in `exact_*.json`, whose hashes cover
whole events.
"""

import csv
import hashlib
import hmac
import json
import re
import shutil
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pytest
from httpx import Response

from ledger.events import EVENTS
from ledger.projections.book import MemoryBook
from tests.migrations.test_legacy_commands import write_sample
from tests.signals.inbound.freqtrade.test_listener import environment
from tests.stories.test_whole_flow import Flow, hash_of
from tests.support.api_system import BUY, Daybook, open_daybook
from tests.support.bots.freqtrade_double import freqtrade_double
from tests.support.commands import ROOT, Command
from tests.support.events import SteppingClock, Story, realistic_batches, record_all
from tests.support.market_files import write_market
from tests.support.processes import DAYBOOK, Home, new_home
from tests.support.unchanged import (
    Scrubber,
    command_tree,
    compare,
    event_schema,
    log_facts,
    log_lines,
    problem_types,
    rule_names,
    without_prose,
)
from tests.support.waiting import until

EXPORTS: Final = ROOT / "tests" / "samples" / "exports"
BASES: Final = {
    "binance-trades-2021.csv": "EUR",
    "binance-trades.csv": "USDT",
    "coinbase-transactions-2022.csv": "EUR",
    "luno-transactions.csv": "ZAR",
    "luno-zar.csv": "ZAR",
}
"""What the prices of exports are in, where it is not dollars."""
VARYING: Final = ("hash", "state_hash", "seconds", "events_per_second", "key_id")
"""Members that are random, follow from the time of recording, or measure time."""
EXACT: Final = ("log_hash", "sweep_hash")
"""Members that follow from whole events, sentences and all."""
OURS: Final = (
    "id,time,instrument,side,quantity,price,fee,fee_asset,quote_rate,fee_value,account\n"
    "b1,2024-01-01T10:00:00Z,BTC-USD,buy,1,40000,10,,,,\n"
    "b2,2024-01-02T10:00:00Z,ETH-USDT,buy,2,2200,0.005,BNB,0.9998,1.55,\n"
    "b3,2024-01-03T10:00:00Z,BTC-USD,buy,0.7,45000,0.0001,BTC,,,\n"
    "s1,2024-02-02T10:00:00Z,BTC-USD,sell,0.123456789012345678,50000,1,,,,\n"
    "s2,2025-03-02T10:00:00Z,BTC-USD,sell,1.1,39000,-2,,,,\n"
    "b4,2025-03-03T10:00:00Z,SOL-USD,buy,10,150,0,,,,file 2\n"
)
BAD: Final = OURS + "x1,2024-01-03,BTC-USD,buy,1,2000,1,,,,\nb1,2024-01-01T10:00:00Z,BTC-USD,buy,2,40000,10,,,,\n"
COSTS: Final = ("--fee", "0.001", "--half-spread", "0.0005")
WHEN: Final = {"occurred_at": "2024-05-01T10:00:00Z"}
ENTRIES: Final[list[dict[str, Any]]] = [
    {"kind": "cash_deposit", "account": "file", "amount": "150000", "occurred_at": "2023-12-01T10:00:00Z"},
    {"kind": "cash_withdrawal", "account": "file", "amount": "250.5", **WHEN},
    {"kind": "asset_deposit", "account": "file", "asset": "ADA", "quantity": "100", **WHEN},
    {"kind": "asset_withdrawal", "account": "file", "asset": "ADA", "quantity": "1", **WHEN},
    {"kind": "opening_lot", "account": "file", "asset": "ETH", "quantity": "3", "cost": "4000", **WHEN},
    {
        "kind": "income",
        "account": "file",
        "asset": "SOL",
        "quantity": "1",
        "value": "90",
        "income_kind": "staking",
        **WHEN,
    },
    {"kind": "transfer", "from_account": "file", "to_account": "file 2", "asset": "BTC", "quantity": "0.1", **WHEN},
    {"kind": "split", "asset": "SOL", "numerator": 2, "denominator": 1, **WHEN},
    {"kind": "fee", "account": "file", "fee": {"asset": "USD", "amount": "3"}, "note": "custody", **WHEN},
    {"kind": "trade", "account": "file", "venue_trade_id": "m1", "product_id": "ETH-USD", "side": "sell"}
    | {"quantity": "1.5", "price": "3000", "fees": [{"asset": "USD", "amount": "1.5"}], **WHEN},
]


# --- logs -------------------------------------------------------------------------------------------------------------


def test_logs_in_memory_stay_the_same() -> None:
    """Bots on a simulated market, and a life with every kind of entry: the same events, hash chain and state."""
    flow = Flow(7)
    flow.play(300)
    story, book = Story("unchanged"), MemoryBook(SteppingClock())
    record_all(book, story, realistic_batches(story, 300))
    exact, facts = {}, {}
    for name, source, portfolio_id in (("flow", flow.book, flow.portfolio_id), ("life", book, story.portfolio_id)):
        facts[name] = log_facts(log_lines(source.log.read(portfolio_id)), Scrubber({}))
        with source.reading(portfolio_id) as reading:
            exact[name] = {"end_of_chain": facts[name].pop("end_of_chain"), "state": hash_of(reading.rows)}

    compare("logs", facts)
    compare("exact_logs", exact)


# --- names that programs parse ----------------------------------------------------------------------------------------


def test_names_stay_the_same() -> None:
    """Events with their fields, commands with their options, problem types and rules."""
    events = {f"{name} {version}": event_schema(kind.model_json_schema()) for (name, version), kind in EVENTS.items()}

    compare("events", events)
    compare("commands", command_tree())
    compare("names", {"problems": problem_types(), "rules": rule_names()})


# --- HTTP -------------------------------------------------------------------------------------------------------------


def test_the_http_interface_stays_the_same(database_url: str, tmp_path: Path) -> None:
    """The OpenAPI document, and the answers to trades, entries, signals, exits and wrong requests."""
    with open_daybook(database_url, tmp_path) as daybook:
        compare("openapi", without_prose(daybook.client.get("/api/schema/openapi.json").json()))
        scrub = Scrubber({str(tmp_path): "<folder>"}, VARYING)
        compare("http", [scrub.value(one) for one in answers(daybook)])


def answers(daybook: Daybook) -> Iterator[dict[str, Any]]:
    """Each answer to a series of requests with its status, and the facts of the logs at the end."""
    opening = {"name": "mine", "base_currency": "USD", "accounts": [account("file"), account("file 2")]}
    daybook.pass_seconds(3)
    asked: list[tuple[str, Any]] = [
        ("portfolios", opening),
        ("portfolios", opening | {"name": ""}),
        *(("portfolio/entries?portfolio=mine", entry) for entry in ENTRIES),
        ("portfolio/entries?portfolio=mine", {"kind": "gift"}),
        ("trades/preview", BUY),
        ("trades/execute", BUY | {"quote_size": "0.5"}),
        ("trades/execute", BUY | {"product_id": "XYZ-USD"}),
        ("trades/execute", BUY),
        ("limits/cooldown_minutes", {"value": "1"}),
        ("limits/confirmation_minutes", {"value": "0"}),
        ("limits/nothing", {"value": "1"}),
        ("targets/reserve", {"value": "100"}),
        ("modes", {"bot_id": "mine", "mode": "ask"}),
        ("bots", {"bot_id": "mine", "kind": "rsi", "product_id": "BTC-USD", "parameters": {"smoothing": "simple"}}),
        ("bots/mine/start", None),
        ("bots/mine/evaluate", None),
        ("trading/halt", {"reason": "a pause"}),
        ("trades/execute", BUY | {"quote_size": "60"}),
        ("trading/resume", {"reason": "go on"}),
        ("verification", None),
    ]
    for number, (path, body) in enumerate(asked):
        method = "PUT" if path.startswith(("limits", "targets", "modes")) else "POST"
        headers = {"Idempotency-Key": f"key {number}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        yield answered(f"{method} {path}", daybook.send(method, path, headers=headers, content=content))
    daybook.pass_seconds(2)
    yield from signals(daybook)
    exit_ = daybook.post("exits", {"product_id": "BTC-USD", "trailing": "0.05"}, "exit")
    yield answered("POST exits", exit_)
    yield answered("change", daybook.post(f"exits/{exit_.json()['exit_id']}/change", {"trailing": "0.0001"}, "change"))
    daybook.pass_seconds(20)
    for path in (
        *("portfolio", "portfolio/lots", "portfolio/pnl", "portfolio/performance", "portfolio/equity", "portfolios"),
        *("trades", "orders", "signals?limit=3", "bots", "bots/kinds", "exits", "limits", "targets", "modes"),
        *("accounts", "differences", "trading", "events?limit=9", "freqtrade", "trades/no-id", "nothing"),
        *(f"portfolio{inner}?portfolio=mine" for inner in ("", "/lots", "/positions/BTC-USD", "/pnl")),
        *("/health/live", "/health/ready", "/health/trading"),
    ):
        yield answered(f"GET {path}", daybook.get(path))
    for chosen in ({}, {"portfolio": "mine"}):
        events = daybook.read("events", limit=500, **chosen)
        assert events["next_cursor"] is None
        yield {"log": log_facts(reversed(events["items"]), Scrubber({}), exact=False)}


def answered(asked: str, answer: Response) -> dict[str, Any]:
    return {"asked": asked, "status": answer.status_code, "body": answer.json()}


def signals(daybook: Daybook) -> Iterator[dict[str, Any]]:
    """The answers to signals of a program and of a webhook, the first of them sent twice."""
    (mark,) = daybook.read("events", type="MarkRecorded", limit=1)["items"]
    said = {"product_id": "BTC-USD", "asof": mark["occurred_at"], "score": "0.8", "confidence": "0.9"}
    for key in ("first", "second"):
        yield answered("POST signals", daybook.post("signals", said, key))
    yield answered("POST signals", daybook.post("signals", said | {"asof": "2020-01-01T00:00:00Z"}, "stale"))
    secret = daybook.client.app.state.webhooks.add("model", "signal", {})
    body, stamp = json.dumps(said), str(int(time.time()))
    for name, more in (("good", ""), ("bad", " ")):
        signature = hmac.new(secret.encode(), f"{stamp}.{body}{more}".encode(), hashlib.sha256).hexdigest()
        headers = {"X-Daybook-Timestamp": stamp, "X-Daybook-Signature": f"sha256={signature}", "Authorization": ""}
        answer = daybook.send("POST", "webhooks/model", content=body, headers=headers)
        yield answered(f"POST webhooks/model with a {name} signature", answer)


def account(name: str) -> dict[str, str]:
    return {"account": name, "venue": "own", "mode": "live"}


# --- commands ---------------------------------------------------------------------------------------------------------


class Console:
    """Real commands in one folder, and what each of them printed as JSON and exited with."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.done: list[dict[str, Any]] = []
        folder = str(home.folder)
        self.scrub = Scrubber({folder: "<folder>", home.settings["port"]: "<port>"}, (*VARYING, *EXACT))

    def run(self, *words: str, show: str | None = None, **settings: str) -> str:
        """Run the command and keep its exit code, its JSON, and the file `show` that it wrote."""
        done = self.home.run(*words, **settings)
        shown = json.loads(done.stdout) if "--json" in words and done.stdout else None
        facts: dict[str, Any] = {"command": " ".join(words), "code": done.returncode, "json": shown}
        if show is not None:
            facts["file"] = file_facts((self.home.folder / show).read_text(encoding="utf-8").splitlines())
        self.done.append(self.scrub.value(facts))
        return done.stdout

    def write(self, name: str, text: str) -> str:
        (self.home.folder / name).write_text(text, encoding="utf-8")
        return name

    def logs(self) -> None:
        """Keep the facts of every stored log."""
        self.run("export", "events", "all.jsonl")
        for portfolio_id, lines in groupby(self.lines("all.jsonl"), lambda line: str(line["portfolio_id"])):
            self.done.append({"log": portfolio_id} | log_facts(lines, Scrubber({}), exact=False))

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of a file of JSON."""
        yield from map(json.loads, (self.home.folder / name).read_text(encoding="utf-8").splitlines())


def file_facts(lines: list[str]) -> Any:
    """A CSV file by columns; of a beancount file the lines without comments and without texts in quotes."""
    if "," in lines[0]:
        header, *rows = csv.reader(lines)
        return {"header": header, "rows": [dict(zip(header, row, strict=True)) for row in rows]}
    return [re.sub(r'"[^"]* [^"]*"', '"<text>"', line) for line in lines if line and not line.startswith(";")]


@pytest.fixture
def console(database_url: str) -> Iterator[Console]:
    """A folder with an empty ledger."""
    with new_home(candles=10, database_url=database_url) as home:
        yield Console(home)


def test_commands_on_portfolios_stay_the_same(console: Console) -> None:
    """Imports of our own files and of exchanges' exports, entries by hand, reversals, lots, figures, exports and proofs."""
    run, mine = console.run, ("--portfolio", "mine")
    console.write("trades.csv", OURS)
    console.write("bad.csv", BAD)
    console.write("entries.json", json.dumps([entry | {"id": f"e{n}"} for n, entry in enumerate(ENTRIES)]))
    run("doctor")
    run("import", "trades", "trades.csv", *mine, "--json")
    run("import", "trades", "trades.csv", *mine, "--create", "--dry-run", "--json")
    for name in ("trades.csv", "trades.csv", "bad.csv"):
        run("import", "trades", name, *mine, "--create", "--json")
    run("import", "trades", "bad.csv", *mine, "--skip-bad", "--json", show="bad.csv.bad.csv")
    run("record", "entries.json", *mine)
    run("reverse", "s1", *mine, "--reason", "mistyped", "--json")
    run("reverse", "s1", *mine, "--reason", "again", "--json")
    for path in sorted(EXPORTS.glob("*.csv")):
        shutil.copy(path, console.home.folder)
        base = BASES.get(path.name, "USD")
        run("lots", path.name, "--base", base, "--json")
        run("import", "trades", path.name, "--portfolio", path.stem, "--create", "--base", base, "--skip-bad", "--json")
    for source in (("trades.csv",), mine):
        for method in ("fifo", "lifo", "hifo"):
            run("lots", *source, "--method", method, "--holding-period", "365", "--json")
    run("lots", "bad.csv", "--json")
    run("lots", *mine, "--as-of", "2024-06-01T00:00:00Z", "--json")
    run("performance", *mine, "--json")
    run("performance", *mine, "--as-of", "2025-01-01T00:00:00Z", "--json")
    run("replay", "--verify", "--json")
    run("replay", "--rebuild", *mine, "--json")
    run("replay", *mine, "--as-of", "2024-06-01T00:00:00Z", "--json")
    run("replay", "--portfolio", "nobody", "--json")
    for what in ("trades", "lots", "gains", "beancount"):
        run("export", what, what, *mine, show=what)
    console.logs()
    compare("portfolios", console.done)


def test_commands_on_old_databases_stay_the_same(console: Console) -> None:
    """A legacy database is planned, taken over, checked, written back and rolled back."""
    write_sample(console.home.folder / "trading.db")
    mine = ("--portfolio", "mine", "--json")
    for verb in ("plan", "check", "run", "run", "check"):
        console.run("import", "legacy", verb, "trading.db", *mine)
    console.logs()
    console.run("export", "legacy", "later.db", *mine)
    console.run("import", "legacy", "rollback", "trading.db", *mine)
    compare("legacy", console.done)


def test_commands_on_keys_bots_and_venues_stay_the_same(console: Console) -> None:
    """Keys, webhooks, kinds of bots, accounts at a simulated venue, and freqtrade's state."""
    run = console.run
    run("key", "issue", "--name", "model", "--scope", "signal:emit", "--scope", "read", "--expires", "30")
    run("webhook", "add", "chart", "--template", "tradingview", "--passphrase", "--map", "BTCUSD=BTC-USD")
    run("webhook", "add", "a/b")
    run("webhook", "rotate", "chart")
    for words in (
        ("key", "list"),
        ("webhook", "list"),
        ("bot", "kinds"),
        ("bot", "test", "rsi"),
        ("freqtrade", "state"),
    ):
        run(*words, "--json")
    with freqtrade_double() as double:
        settings = {name.removeprefix("DAYBOOK_").lower(): value for name, value in environment(double).items()}
        run("freqtrade", "state", "--json", **settings)
    venue = Command([str(DAYBOOK), "venue", "binance", "--json"], console.home.folder, console.home.environment())
    try:
        until(lambda: bool(venue.out), "the venue")
        about = json.loads(venue.out[0])
        console.scrub = Scrubber({about["url"]: "<url>"})
        console.done.append({"command": "venue", "json": about | {"url": "<url>"}})
        whose = ("--venue", "binance", "--name", "main", "--key", about["key"], "--secret", about["secret"])
        run("accounts", "add", *whose, "--portfolio", "mine", "--endpoint", about["url"], "--create", "--base", "USDT")
        run("accounts", "list", "--json")
    finally:
        venue.kill()
        venue.wait()
    compare("keys", console.done)


@pytest.mark.campaign
def test_backtests_stay_the_same(console: Console) -> None:
    """A run of several bots with exits, to the last hash; a sweep, a walk forward, a comparison and an audit."""
    minutes = write_market(console.home.folder, 700).name
    hours = write_market(console.home.folder, 200, 5, "6h").name
    both = ("--bot", "ma_cross", "--bot", "smc", "--bot", "rsi", "--limit", "confirmation_minutes=0", *COSTS)
    over = ("--candles", hours, "--bot", "rsi", "--over", "length=5,9", "--over", "oversold=25,60", *COSTS)
    for name, more in (("one", ()), ("two", ("--no-exits", "--cash", "5000"))):
        console.run("backtest", "run", "--candles", minutes, *both, *more, "--out", name, "--json")
        facts = log_facts(console.lines(f"{name}/events.jsonl"), Scrubber({}))
        console.scrub.omitted.append(f"end_of_chain {facts.pop('end_of_chain')}")
        console.done.append({"log": name} | facts)
    for path in sorted((console.home.folder / "one").iterdir()):
        if path.suffix == ".csv":
            console.done.append({"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    console.run("backtest", "compare", "one", "two", "--json")
    console.run("backtest", "sweep", *over, "--json")
    console.run("backtest", "walk-forward", *over, "--folds", "2", "--purge", "4", "--json")
    console.run("backtest", "audit", "--candles", minutes, "--bot", "rsi", "--samples", "1", *COSTS)
    console.run("backtest", "run", "--candles", minutes, "--bot", "rsi")
    compare("backtests", console.done)
    compare("exact_backtests", console.scrub.omitted)
