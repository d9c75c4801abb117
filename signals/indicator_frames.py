"""Indicators over whole pandas frames, for research: pandas-ta-classic with TA-Lib as its engine."""

import inspect
import warnings
from typing import Any

import numpy as np
import pandas as pd


def indicator_frame(name: str, frame: pd.DataFrame, **parameters: Any) -> Any:
    """What pandas-ta-classic answers for `name` ("rsi", "macd", …) over open, high, low, close and volume.

    A Series or DataFrame in the library's own column names, or None with too little history. The library's answer as it
    is: the neutral rules of `signals.indicators` are not applied. Raises ValueError for an unknown name, a column that
    is missing, and numbers that are not finite.
    """
    indicator = getattr(_library(), name, None)
    if not inspect.isfunction(indicator):
        raise ValueError(f"there is no indicator called {name[:40]!r}")
    wanted = [column for column in inspect.signature(indicator).parameters if column.rstrip("_") in _COLUMNS]
    missing = {column.rstrip("_") for column in wanted} - set(frame.columns)
    if not wanted or missing:
        raise ValueError(f"{name} cannot be computed: the frame lacks {', '.join(sorted(missing)) or 'its inputs'}")
    inputs = {column: frame[column.rstrip("_")] for column in wanted}
    if not all(np.isfinite(values.to_numpy()).all() for values in inputs.values()):
        raise ValueError("the frame holds a number that is not finite")
    # Without this the library quietly uses its own code instead of TA-Lib.
    return indicator(**inputs, **parameters, talib=True)


_COLUMNS = frozenset(("open", "high", "low", "close", "volume"))


def _library() -> Any:
    with warnings.catch_warnings():
        # It reads an attribute that pandas has renamed, for a label, while it is imported.
        warnings.filterwarnings("ignore", "Timestamp.dayofyear is deprecated", DeprecationWarning)
        import pandas_ta_classic

        return pandas_ta_classic
