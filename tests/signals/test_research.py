"""Frames for research: their contents, their errors, and that nothing else needs pandas."""

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from signals.bot import bars_of
from signals.market.candle import Candle
from signals.market.simulated import simulated_candles
from signals.research import bar_frame, indicator_frame
from tests.support.bots.bar_series import walk
from tests.support.market_files import write_market
from tests.support.trading import BTC

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial-bot.md"
MINUTE = pd.Timedelta(minutes=1)


def python(program: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python that has run this program."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def candles(number: int) -> list[Candle]:
    return list(islice(simulated_candles(1, BTC, MINUTE.to_pytimedelta()), number))


def test_running_daybook_imports_no_pandas() -> None:
    """The modules of `daybook serve` and every bot load without pandas, although it is installed here."""
    done = python("import sys, api.serve, signals.registry, signals.sandbox.worker; sys.exit('pandas' in sys.modules)")
    assert (done.returncode, done.stderr) == (0, "")


def test_research_names_the_extra_when_pandas_is_missing() -> None:
    done = python("import sys; sys.modules['pandas'] = None; import signals.registry, signals.research")
    last = done.stderr.splitlines()[-1]
    assert last == (
        "signals.research.NoResearch: signals.research needs pandas: run make extras, or pip install 'daybook[research]'"
    )


def test_bar_frame_has_the_prices_by_their_open_time() -> None:
    shown = candles(50)
    frame = bar_frame(bars_of(shown))
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
    assert list(frame.index) == [pd.Timestamp(candle.opened_at) for candle in shown]
    assert frame["close"].tolist() == [float(candle.close) for candle in shown]


def test_indicator_frame_keeps_the_index_of_the_bars() -> None:
    frame = bar_frame(bars_of(candles(50)))
    assert indicator_frame("rsi", frame, length=14).index.equals(frame.index)
    assert list(indicator_frame("macd", frame).columns) == ["MACD_12_26_9", "MACDh_12_26_9", "MACDs_12_26_9"]


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("no_such", {}, "no indicator called"),
        ("version", {}, "no indicator called"),
        ("atr", {"high": None}, "lacks high"),
        ("rsi", {"close": np.nan}, "not finite"),
    ],
)
def test_indicator_frame_refuses(name: str, change: dict[str, float | None], reason: str) -> None:
    """An unknown indicator, a missing column and a number that is not finite."""
    frame = bar_frame(walk(6, 60))
    for column, value in change.items():
        frame = frame.drop(columns=column) if value is None else frame.assign(**{column: value})
    with pytest.raises(ValueError, match=reason):
        indicator_frame(name, frame)


def test_example_of_the_tutorial_runs(tmp_path: Path) -> None:
    """The page's notebook, over a file of simulated candles, prints a row for each ten points of RSI."""
    example = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)[-1]
    file = write_market(tmp_path, 500, timeframe="1h")
    done = python(example.replace("coinbase-BTC-USD-1h.csv", str(file)))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^50\.0 +\d+ +-?\d", done.stdout, re.MULTILINE)
