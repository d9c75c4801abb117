"""The HTTP interface of freqtrade: configuration, health, start, stop and candles."""

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
    """freqtrade did not respond, or not as expected."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The configuration of a freqtrade. `state` is running, paused or stopped."""

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
        """The settings that prevent its use as a mere source of signals, one sentence each."""
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
        # Not through the environment's proxies: freqtrade is on the local network.
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
        """Close its connections."""
        self._client.close()

    def ping(self) -> None:
        """Check that it responds, without credentials. Raises FreqtradeUnavailable, as all methods do."""
        self._request("GET", "ping")

    def show_config(self) -> Shown:
        """Read its strategy, timeframe and state."""
        found = self._request("GET", "show_config")
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
            raise self._wrong(f"its show_config is invalid ({error})") from None

    def health(self) -> datetime | None:
        """The last run of its main loop (UTC), None before the first."""
        at = self._request("GET", "health").get("last_process")
        try:
            return None if at is None else utc_time(at)
        except ValueError as error:
            raise self._wrong(f"its health is invalid ({error})") from None

    def whitelist(self) -> list[str]:
        """The pairs that it analyses."""
        found = self._request("GET", "whitelist").get("whitelist")
        return [str(pair) for pair in found] if isinstance(found, list) else []

    def start(self) -> str:
        """Start it, and return its status message."""
        return str(self._request("POST", "start").get("status", ""))

    def stop(self) -> str:
        """Stop it, analysis included, and return its status message."""
        return str(self._request("POST", "stop").get("status", ""))

    def candles(self, pair: str, timeframe: timedelta, limit: int) -> Frame:
        """Up to `limit` newest rows of the pair."""
        wanted = {"pair": pair, "timeframe": timeframe_text(timeframe), "limit": limit}
        try:
            return frame_of_candles(self._request("POST", "pair_candles", wanted))
        except BadFrame as error:
            raise self._wrong(f"its candles of {pair} are invalid: {error}") from None

    def _request(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        try:
            with self._client.stream(method, path, json=body) as answer:
                text = _bounded(answer)
        except httpx.HTTPError as error:
            raise self._wrong(
                f"no response ({type(error).__name__}): check that it runs and that the url is right"
            ) from None
        if answer.status_code in (401, 403):
            raise self._wrong("user name or password refused: compare them with its api_server")
        if not answer.is_success or text is None:
            fault = f"{path} returned status {answer.status_code}" if text is not None else f"{path} is too long"
            raise self._wrong(fault)
        try:
            found = read_json(text)
        except BadFrame as error:
            raise self._wrong(f"{path}: {error}") from None
        if not isinstance(found, dict):
            raise self._wrong(f"{path} is not a JSON object")
        return found

    def _wrong(self, fault: str) -> FreqtradeUnavailable:
        return FreqtradeUnavailable(f"freqtrade at {self._url}: {fault}")


def _bounded(answer: httpx.Response) -> bytes | None:
    """The body, or None when it is longer than LARGEST_ANSWER."""
    found = bytearray()
    for part in answer.iter_bytes():
        found += part
        if len(found) > LARGEST_ANSWER:
            return None
    return bytes(found)
