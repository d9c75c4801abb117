"""Rows of freqtrade and their edges, in any order and by any path."""

import json
import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.values import Instrument
from signals.inbound.freqtrade.edges import Edge, Edges, Strategy
from signals.inbound.freqtrade.frames import BadFrame, Frame, Row, frame_of_candles, frame_of_message, read_json
from signals.runner import signal_id
from tests.support.bots.freqtrade_double import PAIR, cells, five_minutes, message, split_json

STRATEGY = Strategy("ft", "Trend", "3")
BTC = Instrument("BTC-USD")
STEP = timedelta(minutes=5)
LONGEST = timedelta(minutes=60)
OTHER = "ETH/USDT"


def row(number: int, *sides: str, **more: Any) -> Row:
    return Row(five_minutes(number), frozenset(sides), **more)


def frame(*rows: Row, pair: str = PAIR) -> Frame:
    return Frame(pair, STEP, rows)


def emitted(edges: Edges, now: datetime) -> list[Edge]:
    """The edges that are due, marked as done."""
    found: list[Edge] = []
    while due := edges.due(now, LONGEST):
        found += due
        edges.done(due)
    return found


# ── the state machine ────────────────────────────────────────────────────────────────────────────────────────────────

sides_of_row = st.sampled_from(
    [(), (), ("enter_long",), ("enter_long",), ("exit_long",), ("enter_long", "exit_long"), ("enter_short",)]
)


@st.composite
def lives(draw: st.DrawFn) -> tuple[dict[str, list[Row]], list[Frame]]:
    """Rows of two pairs, and deliveries with each of them at least once: single rows, back-fills and repeats."""
    tables = {
        pair: [row(number, *draw(sides_of_row)) for number in range(draw(st.integers(1, 8)))] for pair in (PAIR, OTHER)
    }
    deliveries = [frame(one, pair=pair) for pair, rows in tables.items() for one in rows]
    for pair, rows in tables.items():
        for _ in range(draw(st.integers(0, 3))):
            first = draw(st.integers(0, len(rows) - 1))
            deliveries.append(frame(*rows[first : first + draw(st.integers(1, 8))], pair=pair))
    return tables, draw(st.permutations(deliveries))


def expected_edges(tables: dict[str, list[Row]]) -> set[tuple[str, datetime, str]]:
    """The expected edges, from the whole tables: sides of a row that the row before does not have."""
    found = set()
    for pair, rows in tables.items():
        sides = [one.signals - {"enter_short"} for one in rows]
        sides = [frozenset() if {"enter_long", "exit_long"} <= one else one for one in sides]
        for before, now, one in zip(sides, sides[1:], rows[1:], strict=False):
            found |= {(pair, one.opened_at, side) for side in now - before}
    return found


def edges_from(deliveries: list[Frame], now: datetime) -> list[tuple[str, datetime, str]]:
    edges = Edges(STRATEGY, (PAIR, OTHER))
    found = []
    for one in deliveries:
        edges.add(one, now)
        found += emitted(edges, now)
    return [(edge.pair, edge.row.opened_at, edge.side) for edge in found]


@given(life=lives())
def test_edges_do_not_depend_on_the_order_of_arrival(life: tuple[dict[str, list[Row]], list[Frame]]) -> None:
    """Websocket, poll and back-fill in any order and number: each edge is emitted once, and no other."""
    tables, deliveries = life
    found = edges_from(deliveries, five_minutes(9))

    assert len(found) == len(set(found))
    assert set(found) == expected_edges(tables)


def test_order_check_finds_rows_judged_without_their_predecessor(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {PAIR: [row(0), row(1, "enter_long")]}
    backwards = [frame(tables[PAIR][1]), frame(tables[PAIR][0])]
    assert set(edges_from(backwards, five_minutes(9))) == expected_edges(tables)

    def hasty(self: Edges, known: Any, opened_at: datetime, timeframe: timedelta) -> frozenset[str]:
        before = known.rows.get(opened_at - timeframe)
        return self._valid_sides(known.rows[opened_at]) if before is not None else frozenset()

    monkeypatch.setattr(Edges, "_sides", hasty)
    assert set(edges_from(backwards, five_minutes(9))) != expected_edges(tables)


@given(life=lives(), restart=st.integers(0, 30))
def test_edges_have_the_same_ids_after_a_restart(life: tuple[dict[str, list[Row]], list[Frame]], restart: int) -> None:
    """So that the log holds each signal once."""
    tables, deliveries = life
    now = five_minutes(9)

    def ids(parts: list[list[Frame]]) -> set[Any]:
        found = set()
        for part in parts:
            edges = Edges(STRATEGY, (PAIR, OTHER))
            for one in part:
                edges.add(one, now)
            found |= {signal_id(edge.signal(BTC, Decimal(part_price))) for edge in emitted(edges, now)}
        return found

    part_price = random.Random(restart).randint(1, 10**6)
    whole = [frame(*rows, pair=pair) for pair, rows in tables.items()]
    assert ids([deliveries[:restart], [*deliveries, *whole]]) == ids([deliveries])


def test_edge_id_follows_from_strategy_pair_timeframe_open_and_side() -> None:
    """Not from price, tags and predictions."""
    edge = Edge(STRATEGY, PAIR, STEP, "enter_long", row(1, "enter_long"))
    one = signal_id(edge.signal(BTC, Decimal(5)))
    tagged = row(1, "enter_long", tags=(("enter_tag", "x"),), outputs=(("&-s", Decimal(1)),))

    assert signal_id(Edge(STRATEGY, PAIR, STEP, "enter_long", tagged).signal(BTC, Decimal(6))) == one
    others = [
        Edge(Strategy("other", "Trend", "3"), PAIR, STEP, "enter_long", edge.row),
        Edge(Strategy("ft", "Other", "3"), PAIR, STEP, "enter_long", edge.row),
        Edge(Strategy("ft", "Trend", "4"), PAIR, STEP, "enter_long", edge.row),
        Edge(STRATEGY, OTHER, STEP, "enter_long", edge.row),
        Edge(STRATEGY, PAIR, timedelta(minutes=15), "enter_long", edge.row),
        Edge(STRATEGY, PAIR, STEP, "exit_long", edge.row),
        Edge(STRATEGY, PAIR, STEP, "enter_long", row(2, "enter_long")),
    ]
    assert len({one, *(signal_id(other.signal(BTC, Decimal(5))) for other in others)}) == 8


# ── what is left out, and counted ────────────────────────────────────────────────────────────────────────────────────


def test_edges_count_ignored_rows() -> None:
    """Unclosed, stale, continued, contradictory, short, unpredicted, revised and unmapped rows."""
    edges, now = Edges(STRATEGY, (PAIR,)), five_minutes(20) + STEP
    edges.add(frame(row(0, "enter_long"), row(1)), now)  # an hour and more ago
    edges.add(frame(row(16), row(17, "enter_long", "exit_long"), row(18, "enter_short")), now)
    edges.add(frame(row(19, "enter_long", predicted=False), row(20, "enter_long"), row(21, "enter_long")), now)
    edges.add(frame(row(20, "exit_long"), row(19, "enter_long", predicted=False)), now)
    edges.add(frame(row(20), pair="DOGE/USDT"), now)
    assert [(edge.row.opened_at, edge.side) for edge in emitted(edges, now)] == [(five_minutes(20), "enter_long")]

    later = now + STEP
    edges.add(frame(row(21, "enter_long")), later)

    assert emitted(edges, later) == []
    assert edges.counts == {
        "unclosed": 1,
        "gap": 1,
        "contradictory": 1,
        "short": 1,
        "not_predicted": 1,
        "revised": 1,
        "repeated": 1,
        "unmapped_pair": 1,
        "standing": 1,
    }


def test_stale_edge_is_not_due() -> None:
    """It is counted; exactly at the maximum age it is still due."""
    for late, due in ((timedelta(0), 1), (timedelta(seconds=1), 0)):
        edges, now = Edges(STRATEGY, (PAIR,)), five_minutes(1) + STEP + LONGEST + late
        edges.add(frame(row(0), row(1, "enter_long")), now)
        assert len(emitted(edges, now)) == due
        assert edges.counts["stale"] == 1 - due


@pytest.mark.parametrize("backwards", [False, True])
def test_deferred_edge_is_due_again_while_its_condition_continues(backwards: bool) -> None:
    """At each candle in their order, however they arrived, until review decides."""
    edges, now, answers = Edges(STRATEGY, (PAIR,)), five_minutes(9), [True, True, False]
    rows = [row(2), *(row(number, "enter_long") for number in range(3, 8))]
    for one in reversed(rows) if backwards else rows:
        edges.add(frame(one), now)
    found: list[Edge] = []
    while due := edges.due(now, LONGEST):
        again = [edge for edge in due if answers[len(found)]]
        found += due
        edges.done(due, again)

    assert [edge.row.opened_at for edge in found] == [five_minutes(number) for number in (3, 4, 5)]
    assert edges.counts["standing"] == 2


def test_edges_with_shorts_sell_to_enter_and_buy_to_exit() -> None:
    edges, now = Edges(STRATEGY, (PAIR,), shorts=True), five_minutes(9)
    edges.add(frame(row(4), row(5, "exit_short"), row(6, "enter_short")), now)

    found = emitted(edges, now)

    assert [edge.side for edge in found] == ["exit_short", "enter_short"]
    assert [int(edge.signal(BTC, Decimal(1)).score) for edge in found] == [1, -1]


def test_gaps_names_pairs_with_a_missing_row() -> None:
    """Until the predecessor of a row with a side has arrived."""
    edges, now = Edges(STRATEGY, (PAIR,)), five_minutes(9)
    edges.add(frame(row(3), row(5, "enter_long")), now)
    assert (emitted(edges, now), edges.gaps()) == ([], [PAIR])

    edges.add(frame(row(4)), now)

    assert (len(emitted(edges, now)), edges.gaps()) == (1, [])


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore:.*(epoch|default formatting)")  # pandas is about to give up milliseconds
@pytest.mark.parametrize("dates", ["epoch", "iso"])
def test_frame_of_message_reads_a_table_of_pandas(dates: Literal["epoch", "iso"]) -> None:
    """In its split orientation: sides, tags, and FreqAI's numbers and labels."""
    times = pd.to_datetime([five_minutes(0), five_minutes(1)])
    table = pd.DataFrame(
        {
            "date": times,
            "close": [1.1, float("nan")],
            "enter_long": [0.0, 1.0],
            "exit_long": [float("nan"), 0],
            "enter_tag": [None, "breakout\n"],
            "do_predict": [0, 1],
            "&-s_close": [0.12345678, float("nan")],
            "&s-up_or_down": ["up", "down"],
        }
    )
    value = table.to_json(orient="split", date_format=dates)  # type: ignore[call-overload]  # typed for the pandas to come
    found = frame_of_message(
        {"key": [PAIR, "5m", "spot"], "df": {"__type__": "dataframe", "__value__": value}, "la": ""}
    )

    assert (found.pair, found.timeframe) == (PAIR, STEP)
    assert found.rows[0] == Row(
        five_minutes(0),
        frozenset(),
        predicted=False,
        outputs=(("&-s_close", Decimal("0.123457")),),
        labels=(("&s-up_or_down", "up"),),
    )
    assert found.rows[1].signals == {"enter_long"}
    assert found.rows[1].tags == (("enter_tag", "breakout?"),)
    signal = Edge(STRATEGY, PAIR, STEP, "enter_long", found.rows[0]).signal(BTC, Decimal(9))
    assert [(part.name, part.value) for part in signal.parts] == [
        ("enter_long", None),
        ("&-s_close", Decimal("0.123457")),
    ]
    assert "&s-up_or_down: up" in signal.note


def test_frame_of_candles_equals_frame_of_message() -> None:
    """With dates as text or in milliseconds."""
    rows = [cells(five_minutes(0)), cells(five_minutes(1), enter_long=1, enter_tag="x")]
    socket = frame_of_message(read_json(message(rows))["data"])
    answer = json.loads(split_json(rows)) | {"pair": PAIR, "timeframe": "5m"}
    text = [one | {"date": five_minutes(n).isoformat(), "__date_ts": one["date"]} for n, one in enumerate(rows)]

    assert frame_of_candles(answer) == socket
    assert frame_of_candles(json.loads(split_json(text)) | {"pair": PAIR, "timeframe": "5m"}) == socket


GOOD = json.loads(message([cells(five_minutes(0))]))["data"]


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        GOOD | {"key": ["BTC/USDT"]},
        GOOD | {"key": [1, 2, 3]},
        GOOD | {"key": [PAIR, "five", "spot"]},
        GOOD | {"df": None},
        GOOD | {"df": {"__value__": "<html>"}},
        GOOD | {"df": "[" * 100_000},
        GOOD | {"df": '{"columns": ["date"], "data": [[NaN]]}'},
        GOOD | {"df": '{"columns": ["close"], "data": [[1]]}'},
        GOOD | {"df": '{"columns": ["date"], "data": [[1, 2]]}'},
        GOOD | {"df": '{"columns": ["date"], "data": [["yesterday"]]}'},
        GOOD | {"df": '{"columns": ["date"], "data": [[' + "9" * 30 + "]]}"},
        GOOD | {"df": '{"columns": ["date"], "data": [[' + "9" * 9000 + "]]}"},
        GOOD | {"df": '{"columns": ["date"], "data": [[true]]}'},
        GOOD | {"df": '{"columns": [1], "data": []}'},
        GOOD | {"df": json.dumps({"columns": ["date"], "data": [[0]] * 5001})},
    ],
    ids=range(18),
)
def test_invalid_frames_are_refused(data: object) -> None:
    """Only BadFrame is raised, with a short sentence."""
    with pytest.raises(BadFrame) as caught:
        frame_of_message(data)
    assert 0 < len(str(caught.value)) < 200
