"""The length of an approved signal's path in files, functions and changes of file. Printed, for CI."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from api.runtime.first_run import registered
from ledger.projections.book import MemoryBook
from ledger.values import derived_id
from tests.support.events import SteppingClock
from tests.support.programs import Program, open_portfolio, tape
from tests.support.trading import BTC

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = tuple(str(ROOT / name) + "/" for name in ("api", "execution", "ledger", "signals"))
CANDLES: Final = 200
Call = tuple[str, str, int]


def product_call(frame: FrameType) -> Call:
    """The file, the name and the first line of the function that was called."""
    code = frame.f_code
    return code.co_filename, code.co_name, code.co_firstlineno


@contextmanager
def traced(calls: list[Call]) -> Iterator[None]:
    """Append every call of a function of the product, in order, to `calls`."""

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGES):
            calls.append(product_call(frame))

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


def approved_signal(play_candle: Callable[[], None], stored: Callable[[], list[str]]) -> list[Call]:
    """The calls of the first candle with which one signal is emitted, approved and sent, and nothing is filled."""
    for _ in range(CANDLES):
        calls, before = list[Call](), len(stored())
        with traced(calls):
            play_candle()
        types = stored()[before:]
        if types.count("SignalEmitted") == 1 and "OrderSubmitted" in types and "TradeExecuted" not in types:
            return calls
    raise AssertionError("no signal was approved and sent")


def test_path_of_an_approved_signal_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """One candle closes, the bot's signal is approved and its order is sent; in memory, without HTTP and SQL."""
    book, portfolio_id, candles = MemoryBook(SteppingClock()), derived_id("path"), tape(CANDLES)
    open_portfolio(book, portfolio_id, candles, [registered("rsi", "rsi", BTC, "1m", '{"smoothing":"simple"}')])
    program = Program(book, portfolio_id, candles)

    calls = approved_signal(lambda: program.play(1), lambda: [one.type for one in book.log.read(portfolio_id)])

    visited = [path for path, _ in groupby(file.removeprefix(f"{ROOT}/") for file, _, _ in calls)]
    files, functions = sorted(set(visited)), len(set(calls))
    with capsys.disabled():
        sys.stdout.write(f"\n{len(files)} files, {functions} functions, {len(visited) - 1} changes of file\n")
        sys.stdout.writelines(f"  {file}\n" for file in files)
    assert {"api/runtime/market_loop.py", "execution/orders/trade_service.py", "ledger/values.py"} < set(files)
