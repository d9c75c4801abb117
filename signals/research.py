"""Bars and indicators as pandas frames, for notebooks and for training bots. Needs the extra `research`.

Nothing else imports this module: running Daybook takes no pandas.
"""

import inspect
import warnings
from importlib import reload
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ledger.errors import DaybookError
from signals.ta_lib import talib


class NoResearch(DaybookError, ImportError):
    """The extra `research` is not installed."""


try:
    import pandas as pd

    with warnings.catch_warnings():
        # pandas-ta-classic reads an attribute that pandas 3 renamed.
        warnings.filterwarnings("ignore", "Timestamp.dayofyear is deprecated", DeprecationWarning)
        import pandas_ta_classic
except ImportError as error:
    raise NoResearch(
        f"signals.research needs {error.name}: run make extras, or pip install 'daybook[research]'"
    ) from None

reload(talib)  # Imported again beside pandas, TA-Lib accepts series, as pandas-ta-classic passes them.


def bar_frame(bars: NDArray[np.void]) -> pd.DataFrame:
    """The bars (`Window.bars`, or `bars_of` candles) as columns open … volume, indexed by their open time in UTC."""
    index = pd.DatetimeIndex(bars["opened_at"], tz="UTC", name="opened_at")
    return pd.DataFrame({name: bars[name] for name in _COLUMNS}, index=index)


def indicator_frame(name: str, frame: pd.DataFrame, **parameters: Any) -> Any:
    """The indicator `name` of pandas-ta-classic ("rsi", "macd", …) over the columns open … volume of `frame`.

    A Series or DataFrame with the library's column names, or None with too little history. TA-Lib computes it, without
    the neutral values of `signals.indicators`. Raises ValueError for an unknown name, a missing column, and numbers that
    are not finite.
    """
    indicator = getattr(pandas_ta_classic, name, None)
    if not inspect.isfunction(indicator):
        raise ValueError(f"there is no indicator called {name[:40]!r}")
    wanted = [column for column in inspect.signature(indicator).parameters if column.rstrip("_") in _COLUMNS]
    missing = {column.rstrip("_") for column in wanted} - set(frame.columns)
    if not wanted or missing:
        raise ValueError(f"{name} cannot be computed: the frame lacks {', '.join(sorted(missing)) or 'its inputs'}")
    inputs = {column: frame[column.rstrip("_")] for column in wanted}
    if not all(np.isfinite(values.to_numpy()).all() for values in inputs.values()):
        raise ValueError("the frame holds a number that is not finite")
    return indicator(**inputs, **parameters, talib=True)  # by default it would use its own code instead of TA-Lib


_COLUMNS: Final = ("open", "high", "low", "close", "volume")
