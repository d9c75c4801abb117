"""What goes in where programs emit signals, and what is told of freqtrade."""

from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import Field

from api.http.schemas import Answer, Request
from ledger.events.fields import LARGEST_COUNT, SignalPart, Text
from ledger.values import Amount, Instrument, Money, Price, UtcTime

SOURCE: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class SignalRefusal(Request):
    """A person's no to a signal, and why."""

    reason: Text = ""


class NewSignal(Request):
    """An opinion from outside. score: -1 sell … +1 buy; confidence: 0 … 1; both are kept at 6 places.

    It is the same signal when the sender, `source`, `version`, `product_id` and `asof` are the same. `asof` is the moment
    it speaks of, such as the close of a candle; it goes stale after `horizon_s` seconds or the policy's maximum age.
    """

    product_id: Instrument
    asof: UtcTime
    score: Annotated[Money, Field(ge=-1, le=1)]
    confidence: Annotated[Amount, Field(le=1)] = Decimal(1)
    source: Annotated[str, Field(min_length=1, max_length=40, pattern=SOURCE)] | None = None
    version: Annotated[str, Field(min_length=1, max_length=40, pattern=SOURCE)] = "1"
    horizon_s: Annotated[int, Field(strict=True, ge=1, le=LARGEST_COUNT)] | None = None
    entry: Price | None = None
    take_profit: Price | None = None
    stop_loss: Price | None = None
    category: Literal["scalp", "intraday", "swing", "long_term"] | None = None
    parts: Annotated[tuple[SignalPart, ...], Field(max_length=100)] = ()
    note: Text = ""


class FreqtradeAnswer(Answer):
    """A freqtrade: what it runs (null when it does not answer), and how listening to it goes.

    `counts` are of this run of the program: what came, what became a signal, and what was left out and why. `problems`
    say what keeps signals from coming, one sentence each.
    """

    name: str
    pairs: dict[str, str]
    connected: bool
    last_message_at: UtcTime | None
    counts: dict[str, int]
    state: str | None
    strategy: str | None
    strategy_version: str | None
    dry_run: bool | None
    exchange: str | None
    last_process_at: UtcTime | None
    problems: list[str]
