"""Dirty legacy databases of every generation, generated from a seed.

The generator records the real executions, so that tests can compare the import with them.
"""

import json
import random
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from ledger.values import decimal_text, round18

START: Final = datetime(2025, 9, 2, 8, 0, tzinfo=UTC)
PRICES: Final = {"BTC-USD": 64000.0, "ETH-USD": 2500.0, "DOGE-USD": 0.25, "USDT-USD": 1.0004, "BTC-EUR": 58000.0}
GENERATIONS: Final = 6

Happened = tuple[str, str, str, str, str]
"""An execution expected in the ledger: product, side, quantity, price, fee as text."""

BASE: Final = {
    "trades": "id integer primary key, product_id varchar(20), side varchar(10), size float, price float, fee float,"
    " order_id varchar(100), status varchar(20), created_at datetime, filled_at datetime",
    "signals": "id integer primary key, name varchar(50), description text, enabled boolean, weight float, parameters text",
    "signal_results": "id integer primary key, signal_id integer, product_id varchar(20), timestamp datetime, score float,"
    " action varchar(10), confidence float, signal_metadata text",
    "market_data": "id integer primary key, product_id varchar(20), timestamp datetime, timeframe varchar(10),"
    " open_price float, high_price float, low_price float, close_price float, volume float",
}
BOTS: Final = (
    "id integer primary key, name varchar(100), description text, pair varchar(20), status varchar(20),"
    " position_size_usd float, max_positions integer, stop_loss_pct float, take_profit_pct float,"
    " confirmation_minutes integer, signal_config text, current_position_size float, current_combined_score float,"
    " created_at datetime, updated_at datetime"
)
HISTORY: Final = (
    "id integer primary key, bot_id integer, timestamp datetime, combined_score float, signal_scores text, price float"
)
RAW: Final = (
    "id integer primary key, fill_id varchar(100), order_id varchar(100), product_id varchar(20), side varchar(10),"
    " size float, size_in_quote boolean, price float, commission float, created_at varchar(50), synced_at datetime"
)
ALTERED: Final[dict[int, tuple[tuple[str, str], ...]]] = {
    1: (("trades", "bot_id integer"), ("trades", "combined_signal_score float"), ("trades", "signal_scores text")),
    2: (("bots", "trade_step_pct real"), ("bots", "cooldown_minutes integer"), ("bot_signal_history", "action text")),
    3: (
        ("bot_signal_history", "confidence real"),
        ("bot_signal_history", "evaluation_metadata text"),
        ("trades", "position_tranches text"),
        ("trades", "average_entry_price real"),
        ("trades", "size_usd real"),
        ("trades", "position_status text"),
    ),
    4: (("trades", "trading_mode text default 'production'"),),
    5: (("trades", "commission float"), ("trades", "size_in_quote boolean default 0")),
}
STATUSES: Final = ("failed", "pending", "expired", "queued", "cancelled", "unknown", "open")


@dataclass(slots=True)
class Legacy:
    """A generated legacy database: path, real executions, and number of rows by table."""

    path: Path
    generation: int
    happened: Counter[Happened] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    open_questions: int = 0


def make_legacy(path: Path, seed: int, executions: int, generation: int | None = None) -> Legacy:
    """Generate the database of this seed. `executions` counts executions and attempts, not rows."""
    dice = random.Random(seed)
    chosen = dice.randrange(GENERATIONS) if generation is None else generation
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma synchronous = off")
        connection.execute("begin")
        _Maker(connection, dice, Legacy(path, chosen)).make(executions)
        connection.execute("commit")
        return _Maker.made


class _Maker:
    made: Legacy

    def __init__(self, connection: sqlite3.Connection, dice: random.Random, legacy: Legacy) -> None:
        self.connection, self.dice, self.legacy = connection, dice, legacy
        _Maker.made = legacy
        self.columns: dict[str, list[str]] = {}
        self.now = START
        self.bots: list[int] = []
        self.fill = 0

    # --- tables -------------------------------------------------------------------------------------------------------

    def make(self, executions: int) -> None:
        self._tables()
        self._bots()
        for _ in range(executions):
            self._execution()
        self._history(executions // 2)
        self._others(executions // 3)

    def _tables(self) -> None:
        generation = self.legacy.generation
        tables = dict(BASE)
        if generation >= 1:
            tables |= {"bots": BOTS, "bot_signal_history": HISTORY}
            del tables["signals"], tables["signal_results"]
        if generation >= 5:
            tables["raw_trades"] = RAW
        for name, columns in tables.items():
            self.connection.execute(f"create table {name} ({columns})")
        for number in range(1, generation + 1):
            for name, column in ALTERED[number]:
                self.connection.execute(f"alter table {name} add column {column}")
        if self.dice.random() < 0.3:
            self.connection.execute("alter table trades add column strategy_hint text")
        for name in tables:
            self.columns[name] = [row[1] for row in self.connection.execute(f"pragma table_info({name})")]

    def _insert(self, table: str, **row: object) -> None:
        if table not in self.columns:
            return
        values = {name: value for name, value in row.items() if name in self.columns[table]}
        marks = ", ".join("?" * len(values))
        self.connection.execute(f"insert into {table} ({', '.join(values)}) values ({marks})", tuple(values.values()))
        self.legacy.rows[table] += 1

    def _bots(self) -> None:
        if self.legacy.generation < 1:
            return
        configs: tuple[Any, ...] = (
            None,
            "{not json",
            json.dumps(
                {"RSI": {"enabled": True, "weight": 0.33, "period": 14, "buy_threshold": 30, "sell_threshold": 70}}
            ),
            json.dumps({"rsi": {"enabled": False}, "MA": {"enabled": False}, "macd": {"enabled": False}}),
            json.dumps({"macd": {"fast": 30, "slow": 20}, "trading_thresholds": {"buy_threshold": -0.05}}),
            json.dumps(json.dumps({"moving_average": {"fast": 5, "slow": 20, "weight": 0.5}})),
        )
        for number in range(1, self.dice.randrange(1, 6)):
            pair = self.dice.choice(["BTC-USD", "ETH-USD", "btc-usd", "DOGE-USD", "BTC-USD"])
            if self.dice.random() < 0.05:
                pair = "nonsense"
            self._insert(
                "bots",
                id=number,
                name=f"bot {number}",
                pair=pair,
                status=self.dice.choice(["RUNNING", "STOPPED", "ERROR"]),
                position_size_usd=100.0,
                max_positions=5,
                confirmation_minutes=self.dice.choice([0, 5, 10]),
                cooldown_minutes=self.dice.choice([0, 15, None]),
                signal_config=self.dice.choice(configs),
                current_position_size=self.dice.random() * 500,
                current_combined_score=-0.3,
                created_at=self._naive(START - timedelta(hours=number)),
                updated_at=self._naive(START + timedelta(hours=number)),
            )
            self.bots.append(number)

    # --- trades -------------------------------------------------------------------------------------------------------

    def _execution(self) -> None:
        """Add an execution or attempt in one of the forms in which the old system stored it."""
        self.now += timedelta(seconds=self.dice.randrange(300, 3000), microseconds=self.dice.randrange(10**6))
        product = self.dice.choices(list(PRICES), (40, 30, 15, 10, 5))[0]
        side = "buy" if self.dice.random() < 0.55 else "sell"
        price = round(PRICES[product] * self.dice.uniform(0.8, 1.2), self.dice.choice([2, 4, 8]))
        usd = round(self.dice.uniform(20, 900), 2)
        size = round(usd / price, 8)
        ways = [self._solo, self._solo, self._failed, self._mock, self._open_question]
        if self.legacy.generation >= 3:
            ways += [self._twice, self._retried]
        if self.legacy.generation >= 5:
            ways += [self._with_fills] * 6 + [self._fills_only, self._fill_twice, self._at_once]
        self.dice.choice(ways)(product, side, size, price)

    def _solo(self, product: str, side: str, size: float, price: float) -> None:
        """Add one row of a bot or the sync, in base or quote. Older generations do not store its value."""
        status = self.dice.choice(["completed", "filled"])
        in_quote = self.dice.random() < 0.4
        usd = round(size * price, 6)
        written = usd if in_quote else size
        fee = self._fee(size, price)
        self._trade(product, side, written, price, status=status, size_usd=usd, **fee)
        if "size_usd" not in self.columns["trades"]:
            self.legacy.open_questions += 1
            return
        quantity = (
            round18(_exact(written) / _exact(price))
            if in_quote and abs(_exact(price) - 1) > Decimal("0.01")
            else _exact(written)
        )
        self._happened(product, side, quantity, price, next((one for one in fee.values() if one), 0.0))

    def _with_fills(self, product: str, side: str, size: float, price: float) -> None:
        """Add a bot's order with one to three fills, and the bot's row, the sync's rows, or both."""
        order, parts = f"order-{self.dice.getrandbits(64):x}", self._parts(size)
        rows = self.dice.choice(["bot", "sync", "both", "both"])
        fees = [self._commission(part, price) for part in parts]
        if rows != "sync":
            market = round(price * self.dice.uniform(0.995, 1.005), 2)
            usd = round(size * price, 2)
            written = usd if self.dice.random() < 0.5 else size
            self._trade(product, side, written, market or price, status="completed", size_usd=usd, order_id=order)
        for part, fee in zip(parts, fees, strict=True):
            fill = self._raw(product, side, part, price, order, fee)
            if rows != "bot":
                usd_stored = None if self.dice.random() < 0.3 else round(part * price, 6)
                self._trade(
                    product, side, part, price, status="filled", size_usd=usd_stored, order_id=fill, commission=fee
                )

    def _fills_only(self, product: str, side: str, size: float, price: float) -> None:
        """Add a fill without a row of trades, in base or quote."""
        in_quote = self.dice.random() < 0.5
        fee = self._commission(size, price)
        self._raw(product, side, size, price, f"order-{self.dice.getrandbits(64):x}", fee, in_quote=in_quote)

    def _fill_twice(self, product: str, side: str, size: float, price: float) -> None:
        """Add the same fill twice."""
        fee, order = self._commission(size, price), f"order-{self.dice.getrandbits(64):x}"
        fill = self._raw(product, side, size, price, order, fee)
        self._raw(product, side, size, price, order, fee, again=fill)

    def _at_once(self, product: str, side: str, size: float, price: float) -> None:
        """Add simultaneous orders: their order decides the FIFO matches."""
        for turn in range(3):
            self._with_fills(product, side if turn else "buy", size, round(price * (1 + turn / 50), 8))

    def _twice(self, product: str, side: str, size: float, price: float) -> None:
        """Add one execution as a bot's row and a synced row, without a fill."""
        usd = round(size * price, 6)
        fee = self._fee(size, price)
        self._trade(product, side, size, price, status="completed", size_usd=usd, order_id=self._order())
        self.now += timedelta(seconds=self.dice.randrange(1, 30))
        self._trade(product, side, size, price, status="filled", size_usd=usd, order_id=self._order(), **fee)
        self._happened(product, side, _exact(size), price, next((one for one in fee.values() if one), 0.0))

    def _retried(self, product: str, side: str, size: float, price: float) -> None:
        """Add the same row twice, as after a retry."""
        order, usd, at = f"{self.dice.getrandbits(64):016x}", round(size * price, 6), self._naive(self.now)
        for _ in range(2):
            self._trade(product, side, size, price, status="completed", size_usd=usd, order_id=order, filled_at=at)
        self._happened(product, side, _exact(size), price, 0.0)

    def _failed(self, product: str, side: str, size: float, price: float) -> None:
        self._trade(product, side, size, price, status=self.dice.choice(STATUSES), size_usd=round(size * price, 6))

    def _mock(self, product: str, side: str, size: float, price: float) -> None:
        name = f"mock-{int(self.now.timestamp())}-{self.dice.getrandbits(32):08x}"
        status = self.dice.choice(["filled", "completed"])
        self._trade(product, side, size, price, status=status, size_usd=round(size * price, 6), order_id=name)

    def _open_question(self, product: str, side: str, size: float, price: float) -> None:
        """Add an ambiguous row."""
        row: dict[str, Any] = {"status": "filled", "size_usd": round(size * price, 6), "order_id": self._order()}
        broken: tuple[tuple[str, Any], ...] = (
            ("side", None),
            ("side", "hold"),
            ("size", "a lot"),
            ("size", 0.0),
            ("size", None),
            ("price", None),
            ("price", -1.0),
            ("price", 9e999),
            ("size", 1e300),
            ("size_usd", None),
            ("size_usd", round(size * price * 37, 2)),
            ("filled_at", "yesterday"),
            ("product_id", "BTC"),
            ("product_id", None),
            ("status", None),
            ("fee", "free"),
            ("filled_at", "0001-01-01 00:00:00"),
        )
        name, value = self.dice.choice(broken)
        self._trade(product, side, size, price, **{**row, name: value})
        self.legacy.open_questions += 1

    def _trade(self, product: str, side: str, size: object, price: object, /, **given: Any) -> None:
        at = self.now + timedelta(seconds=self.dice.randrange(0, 3))
        written = side if self.dice.random() < 0.3 else side.upper()
        bot = self.dice.choice([*self.bots, 77, None]) if self.dice.random() < 0.8 else None
        scored = self.dice.random() < 0.5
        row = {
            "product_id": product,
            "side": written,
            "size": size,
            "price": price,
            "fee": self.dice.choice([0.0, None]),
            "order_id": self._order(),
            "bot_id": bot,
            "combined_signal_score": round(self.dice.uniform(-1, 1), 4) if scored else 0.0,
            "signal_scores": json.dumps({"rsi": -0.4}) if scored else "{}",
            "trading_mode": "production",
            "created_at": self._naive(at),
            "filled_at": self.dice.choice([self._naive(at), at.isoformat().replace("+00:00", "Z"), None]),
        }
        self._insert("trades", **{**row, **given})

    def _raw(
        self,
        product: str,
        side: str,
        size: float,
        price: float,
        order: str,
        fee: float | None,
        *,
        in_quote: bool = False,
        again: str = "",
    ) -> str:
        self.fill += 1
        fill = again or f"fill-{self.fill}-{self.dice.getrandbits(40):x}"
        written = round(size * price, 6) if in_quote else size
        self._insert(
            "raw_trades",
            fill_id=fill,
            order_id=order,
            product_id=product,
            side=side.upper(),
            size=written,
            size_in_quote=in_quote,
            price=price,
            commission=fee,
            created_at=self.now.isoformat().replace("+00:00", "Z"),
            synced_at=self._naive(self.now + timedelta(minutes=5)),
        )
        if not again:
            quantity = round18(_exact(written) / _exact(price)) if in_quote else _exact(written)
            self._happened(product, side, quantity, price, fee or 0.0)
        return fill

    def _happened(self, product: str, side: str, quantity: Decimal, price: float, fee: float) -> None:
        """Record an execution expected in the ledger, unless it is priced in another currency."""
        if not product.endswith("-USD"):
            self.legacy.open_questions += 1
            return
        texts = (decimal_text(quantity), decimal_text(_exact(price)), decimal_text(_exact(fee)))
        self.legacy.happened[(product, side, *texts)] += 1

    def _parts(self, size: float) -> list[float]:
        count = self.dice.choice([1, 1, 2, 3])
        return [round(size / count, 8) for _ in range(count)]

    def _fee(self, size: float, price: float) -> dict[str, float]:
        fee = round(size * price * 0.006, 6)
        column = self.dice.choice(["fee", "commission"])
        return {column: fee} if column in self.columns["trades"] else {}

    def _commission(self, size: float, price: float) -> float | None:
        return round(size * price * 0.006, 8) if self.dice.random() < 0.9 else None

    def _order(self) -> str | None:
        return f"{self.dice.getrandbits(64):016x}" if self.dice.random() < 0.9 else None

    def _naive(self, at: datetime) -> str:
        return at.replace(tzinfo=None).isoformat(sep=" ")

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _history(self, count: int) -> None:
        at = START
        for number in range(count):
            at += timedelta(minutes=self.dice.randrange(1, 9))
            score: Any = round(self.dice.uniform(-1, 1), 5)
            price: Any = 100.0 + number
            if self.dice.random() < 0.05:
                score, price = self.dice.choice([(None, price), (3.5, price), (score, 0.0), ("high", price)])
            self._insert(
                "bot_signal_history",
                bot_id=self.dice.choice([*self.bots, 77]),
                timestamp=self._naive(at),
                combined_score=score,
                signal_scores=self.dice.choice(
                    [json.dumps({"RSI": {"score": -0.5, "weight": 0.33}, "MA": 0.1}), "{}", None, "{broken"]
                ),
                action=self.dice.choice(["buy", "sell", "hold"]),
                confidence=self.dice.choice([0.5, None, 1.0]),
                evaluation_metadata="{}",
                price=price,
            )

    def _others(self, count: int) -> None:
        for number in range(count):
            at = self._naive(START + timedelta(minutes=number))
            self._insert("market_data", product_id="BTC-USD", timestamp=at, timeframe="ONE_MINUTE", close_price=1.5)
            self._insert("signal_results", signal_id=1, product_id="BTC-USD", timestamp=at, score=-0.2, action="buy")
        self._insert("signals", name="RSI", enabled=1, weight=0.33, parameters="{}")
        if self.dice.random() < 0.3:
            self.connection.execute("create table notes (text)")
            self.connection.execute("insert into notes values ('by hand'), ('by hand')")
            self.legacy.rows["notes"] += 2


def _exact(value: float) -> Decimal:
    return Decimal(repr(value))
