"""freqtrade over HTTP: is it there, what does it run, start it, stop it, and what its candles said."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

import httpx

from ledger.errors import DaybookError
from ledger.values import utc_time
from signals.inbound.freqtrade.frames import BadFrame, Frame, frame_of_candles, printable, read_json
from signals.market.candle import timeframe_of, timeframe_text

TIMEOUT_S: Final = 5.0
LARGEST_ANSWER: Final = 16 * 1024 * 1024


class FreqtradeUnavailable(DaybookError):
    """freqtrade did not answer, or not as it should; the sentence says what happened and what to look at."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What freqtrade runs, from its own configuration. `state` is running, paused or stopped."""

    state: str
    strategy: str
    strategy_version: str
    timeframe: timedelta
    dry_run: bool
    max_open_trades: str
    exchange: str
    version: str
    api_version: str

    def problems(self) -> list[str]:
        """What keeps it from being a mere source of signals, one sentence each."""
        found = []
        if self.state != "running":
            found.append(f"freqtrade is {self.state}: start it with daybook freqtrade start")
        if not self.dry_run:
            found.append("freqtrade trades for itself with real money: set dry_run to true in its configuration")
        if self.max_open_trades != "0":
            found.append("freqtrade opens trades of its own: set max_open_trades to 0 in its configuration")
        return found


class FreqtradeRest:
    """The HTTP interface of one freqtrade, with its user name and password. Use it as a context, or close it."""

    def __init__(self, url: str, username: str, password: str, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url
        # The environment's proxies are for the outside: this one is a neighbour.
        self._client = httpx.Client(
            base_url=f"{url}/api/v1/",
            auth=httpx.BasicAuth(username, password),
            timeout=TIMEOUT_S,
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Its connections are closed."""
        self._client.close()

    def ping(self) -> None:
        """It is there, whoever asks. Raises FreqtradeUnavailable, as all of these do."""
        self._asked("GET", "ping")

    def show_config(self) -> Shown:
        """What it runs, and whether it does."""
        found = self._asked("GET", "show_config")
        try:
            return Shown(
                state=printable(str(found["state"]), 20),
                strategy=printable(str(found["strategy"] or "unnamed"), 80),
                strategy_version=printable(str(found.get("strategy_version") or ""), 80),
                timeframe=timeframe_of(str(found["timeframe"])),
                dry_run=found["dry_run"] is True,
                max_open_trades=str(found["max_open_trades"]),
                exchange=str(found.get("exchange") or ""),
                version=str(found.get("version") or ""),
                api_version=str(found.get("api_version") or ""),
            )
        except (KeyError, ValueError) as error:
            raise self._wrong(f"its show_config cannot be understood ({error})") from None

    def health(self) -> datetime | None:
        """When its main loop last went round, None before the first time."""
        at = self._asked("GET", "health").get("last_process")
        try:
            return None if at is None else utc_time(at)
        except ValueError as error:
            raise self._wrong(f"its health cannot be understood ({error})") from None

    def whitelist(self) -> list[str]:
        """The pairs it looks at."""
        found = self._asked("GET", "whitelist").get("whitelist")
        return [str(pair) for pair in found] if isinstance(found, list) else []

    def start(self) -> str:
        """It runs; what it said."""
        return str(self._asked("POST", "start").get("status", ""))

    def stop(self) -> str:
        """It stands still, its analysis included; what it said."""
        return str(self._asked("POST", "stop").get("status", ""))

    def candles(self, pair: str, timeframe: timedelta, limit: int) -> Frame:
        """The newest rows of the pair, at most `limit`."""
        wanted = {"pair": pair, "timeframe": timeframe_text(timeframe), "limit": limit}
        try:
            return frame_of_candles(self._asked("POST", "pair_candles", wanted))
        except BadFrame as error:
            raise self._wrong(f"its candles of {pair} cannot be understood: {error}") from None

    def _asked(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        try:
            with self._client.stream(method, path, json=body) as answer:
                text = _bounded(answer)
        except httpx.HTTPError as error:
            raise self._wrong(
                f"it does not answer ({type(error).__name__}): is it running, and the url right"
            ) from None
        if answer.status_code in (401, 403):
            raise self._wrong("it refuses the user name and password: compare them with its api_server")
        if not answer.is_success or text is None:
            what = f"{path} was answered with {answer.status_code}" if text is not None else f"{path} is too long"
            raise self._wrong(what)
        try:
            found = read_json(text)
        except BadFrame as error:
            raise self._wrong(f"{path}: {error}") from None
        if not isinstance(found, dict):
            raise self._wrong(f"{path} is not a JSON object")
        return found

    def _wrong(self, what: str) -> FreqtradeUnavailable:
        return FreqtradeUnavailable(f"freqtrade at {self._url}: {what}")


def _bounded(answer: httpx.Response) -> bytes | None:
    """The body, or None when it is longer than any that is read."""
    found = bytearray()
    for part in answer.iter_bytes():
        found += part
        if len(found) > LARGEST_ANSWER:
            return None
    return bytes(found)
