"""What goes in and out over HTTP. Decimals and times are text; requests refuse unknown fields."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ledger.events.fields import RuleChecked
from ledger.values import Amount, Instrument, Money, Side, UtcTime

DEEPEST: Final = 8
PRINTABLE: Final = r"^[^\x00-\x1f\x7f]+$"


class Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


def _shallow(value: object) -> object:
    if _depth(value) > DEEPEST:
        raise ValueError(f"more than {DEEPEST} lists and objects stand in each other")
    return value


def _depth(value: object) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


class NewBot(Request):
    """A bot to register. `parameters` follow the JSON schema of its kind; the timeframe is the feed's when left out."""

    bot_id: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
    kind: Annotated[str, Field(min_length=1, max_length=100)]
    product_id: Instrument
    timeframe: Annotated[str, Field(max_length=10)] | None = None
    parameters: Annotated[dict[str, Any], BeforeValidator(_shallow)] = Field(default_factory=dict)


class PortfolioName(Answer):
    portfolio_id: UUID
    name: str
    base_currency: str
    allow_short: bool
    opened_at: UtcTime
    closed_at: UtcTime | None
    closed_reason: str | None


class PositionAnswer(Answer):
    """A position at its last recorded mark; price and what follows from it are null while none is known.

    `unmatched_quantity` went out although no lot held it, `unknown_cost_quantity` is held at a cost nobody stated: as
    long as there is any, cost, average cost and unrealised P&L are null. `unknown_cost_proceeds` are no part of realised P&L.
    """

    product_id: str
    quantity: Money
    cost_basis: Money | None
    average_cost: Money | None
    price: Money | None
    price_at: UtcTime | None
    price_age_s: int | None
    price_source: str | None
    current_value: Money | None
    unrealized_pnl: Money | None
    unrealized_pnl_pct: Money | None
    realized_pnl: Money
    unmatched_quantity: Money
    unmatched_proceeds: Money
    unknown_cost_quantity: Money
    unknown_cost_proceeds: Money


class PortfolioAnswer(Answer):
    """A portfolio at log position `position`. `mode` is live when an account of it is; `market` says what prices are.

    `assumptions` are what simulated fills rest on, null without a paper account. They, `market`, `simulated` and
    `market_time` are null for a portfolio that this program does not drive.
    """

    portfolio_id: UUID
    name: str
    base_currency: str
    mode: Literal["paper", "live"]
    market: str | None
    simulated: bool | None
    market_time: UtcTime | None
    assumptions: list[str] | None
    position: int
    cash: Money
    total_value: Money | None
    realized_pnl: Money
    unrealized_pnl: Money | None
    fees: Money
    income: Money
    expenses: Money
    positions: list[PositionAnswer]


class LotAnswer(Answer):
    """An acquisition; `open_cost` is null while its cost is not known. Of a short lot it is what selling it brought."""

    lot_id: UUID
    opened_at: UtcTime
    quantity: Money
    open_quantity: Money
    open_cost: Money | None
    short: bool
    triggered_by: str | None


class MatchAnswer(Answer):
    """A part of a lot and what closed it. Without a known cost there is no gain: both are null.

    `kind` says what closed it: a trade, a fee or an expense paid in the asset, or a withdrawal, which brings its cost.
    """

    opening_trade_id: UUID
    closing_trade_id: UUID
    opened_at: UtcTime
    closed_at: UtcTime
    quantity: Money
    proceeds: Money
    cost_basis: Money | None
    realized_pnl: Money | None
    kind: str
    short: bool
    opened_by: str | None
    closed_by: str | None


class UnmatchedAnswer(Answer):
    """What went out although no lot held it. Its `proceeds` are no gain: what it cost was never recorded."""

    event_id: UUID
    occurred_at: UtcTime
    quantity: Money
    proceeds: Money
    kind: str


class PositionDetail(Answer):
    """`matches` are a page of them, newest first; `next_cursor` asks for the next one and is null on the last."""

    position: PositionAnswer
    open_lots: list[LotAnswer]
    matches: list[MatchAnswer]
    next_cursor: str | None
    unmatched: list[UnmatchedAnswer]


class TradeAnswer(Answer):
    """One fill. `value` and `fees` are in base currency; one that is `reversed` never happened and counts for nothing."""

    trade_id: UUID
    position: int
    occurred_at: UtcTime
    account: str
    venue: str
    venue_trade_id: str
    product_id: str = Field(validation_alias="instrument")
    side: Side
    quantity: Money
    price: Money
    value: Money
    fees: Money
    order_id: UUID | None
    triggered_by: str | None
    reversed: bool


class OrderAnswer(Answer):
    order_id: UUID
    position: int
    client_order_id: str
    account: str
    venue: str
    product_id: str = Field(validation_alias="instrument")
    side: Side
    type: str = Field(validation_alias="kind")
    base_size: Money | None
    quote_size: Money | None
    limit_price: Money | None
    stop_price: Money | None
    time_in_force: str | None
    signal_id: UUID | None
    triggered_by: str
    requested_at: UtcTime
    expires_at: UtcTime
    status: str
    venue_order_id: str | None
    filled_quantity: Money
    filled_value: Money
    reason: str
    cancel_requested_at: UtcTime | None


class ExecutedAnswer(Answer):
    """The order that a ticket became, and its fills so far."""

    order: OrderAnswer
    trades: list[TradeAnswer]


class PreviewAnswer(Answer):
    """What review would say to the ticket now, with every rule's numbers."""

    approved: bool
    value: Money | None
    rules: list[RuleChecked]


class SignalAnswer(Answer):
    signal_id: UUID
    position: int
    bot_id: str
    product_id: str = Field(validation_alias="instrument")
    asof: UtcTime
    price: Money
    score: Money
    confidence: Amount
    note: str
    status: str
    failed_rules: str
    reason: str


class EventAnswer(Answer):
    """An event as the log holds it; `payload` is the exact stored JSON text, `hash` in hex."""

    position: int
    event_id: UUID
    type: str
    version: int
    occurred_at: UtcTime
    recorded_at: UtcTime
    actor: str
    correlation_id: UUID
    causation_id: UUID | None
    payload: str
    metadata: str
    hash: Annotated[str, BeforeValidator(lambda value: value.hex() if isinstance(value, bytes) else value)]


class SignalDetail(Answer):
    signal: SignalAnswer
    story: list[EventAnswer]


class TradeDetail(Answer):
    """One trade with its whole story: signal, verdict, order, fills, and the lots it opened or closed."""

    trade: TradeAnswer
    story: list[EventAnswer]
    opened_lots: list[LotAnswer]
    matches: list[MatchAnswer]


class EvaluationAnswer(Answer):
    asof: UtcTime | None
    outcome: str
    reason: str
    score: Money | None
    confidence: Money | None


class BotAnswer(Answer):
    """A bot. `last_evaluation` is of this run of the program, null before the first."""

    bot_id: str
    kind: str
    bot_version: str
    product_id: str = Field(validation_alias="instrument")
    timeframe: str
    parameters: str
    status: str
    status_reason: str
    status_since: UtcTime
    last_asof: UtcTime | None
    last_score: Money | None
    last_evaluation: EvaluationAnswer | None = None


class BotSignal(Answer):
    """What a bot says now and what stands between it and a trade."""

    bot_id: str
    product_id: str
    mode: str
    temperature: str | None
    combined_score: Money | None
    recommended_action: str | None
    last_evaluation: UtcTime | None
    ready_to_trade: bool
    blocked_by: list[str]


class Page(Answer):
    """`next_cursor` asks for the next page; null on the last."""

    next_cursor: str | None


class TradePage(Page):
    items: list[TradeAnswer]


class OrderPage(Page):
    items: list[OrderAnswer]


class SignalPage(Page):
    items: list[SignalAnswer]


class EventPage(Page):
    items: list[EventAnswer]


class HealthAnswer(Answer):
    """`ok` and, when it is not, what is wrong in one sentence each. `notes` tell what is worth knowing besides."""

    ok: bool
    problems: list[str]
    notes: list[str] = Field(default_factory=list)


class TradingHealth(HealthAnswer):
    """Whether orders may be sent, how many are open or of unknown outcome, and how far the views have come."""

    state: Literal["open", "halted"]
    mode: Literal["paper"]
    market: str
    open_orders: int
    unknown_orders: int
    log_position: int
    view_position: int


class VerificationAnswer(Answer):
    verified: bool
    events: int
    trades: int
    state_hash: str
    differences: list[str]
    checked_at: UtcTime


class ProblemAnswer(BaseModel):
    """Every error (RFC 9457). `type` is stable; further fields, such as the answers of all rules, depend on it."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(pattern="^urn:daybook:problem:")]
    title: str
    status: int
    detail: str
    instance: str
