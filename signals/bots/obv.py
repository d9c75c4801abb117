"""OBV: follows the volume. Buys when it comes with rising closes, sells when it comes with falling ones."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from signals.bot import Needs, Parameters, Part, Signal, Window, bounded
from signals.bots.vectorised import after, only_warm
from signals.indicators import Array, obv, rolling


class ObvParams(Parameters):
    length: int = Field(20, ge=2, le=200, description="bars over which the volume is summed")


class ObvBot:
    kind: ClassVar[str] = "obv"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = ObvParams

    def needs(self, params: ObvParams) -> Needs:
        return Needs(bars=params.length + 1)

    def evaluate(self, window: Window, params: ObvParams) -> Signal | None:
        """The change of the on-balance volume over `length` bars, as a share of their total volume.

        None without volume. Confidence grows with the share of bars whose close moved.
        """
        if len(window) <= params.length:
            return None
        close, volume = window.close[-params.length - 1 :], window.volume[-params.length - 1 :]
        traded = volume[1:].sum().item()
        balance = obv(close, volume)
        if balance is None or traded == 0:
            return None
        change = balance.item(-1) - balance.item(0)
        score = bounded(change / traded)
        part = Part(name="obv", score=score, weight=1, value=change)
        confidence = 0.5 + 0.5 * np.count_nonzero(np.diff(close)) / params.length
        note = f"net {abs(score):.0%} of the volume of {params.length} bars came with {'falling' if score < 0 else 'rising'} closes"
        return Signal(score=score, confidence=confidence, parts=(part,), note=note)

    def scores(self, bars: NDArray[np.void], params: ObvParams) -> Array:
        close, volume = bars["close"], bars["volume"]
        if len(bars) <= params.length:
            return np.full(len(bars), np.nan)
        signed = np.sign(np.diff(close)) * volume[1:]
        traded = rolling(volume[1:], params.length).sum(axis=1)
        shares = np.full(traded.size, np.nan)
        np.divide(rolling(signed, params.length).sum(axis=1), traded, out=shares, where=traded > 0)
        return only_warm(np.clip(after(params.length, shares, len(bars)), -1, 1), params.length + 1)
