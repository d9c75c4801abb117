"""Translates executions to TradeExecuted: one per fill, and one per row without a known fill. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from pydantic import ValidationError

from ledger.booking.legs import gross_value
from ledger.events import TradeExecuted
from ledger.events.fields import Fee
from ledger.imports.facts import sentences
from ledger.values import ZERO, Asset, Side
from migrations.legacy.read.cells import LARGEST
from migrations.legacy.translate.comparison import DUPLICATE, PAPER, QUARANTINED, seen_trade
from migrations.legacy.translate.outcomes import (
    Context,
    Fate,
    Staged,
    Translation,
    event_id,
    event_of_row,
    merged_into,
    origin,
)
from migrations.legacy.translate.rows import TradeRow, Undecided, instrument_of, quantity_of

ACCOUNT: Final = "legacy"
PAPER_ACCOUNT: Final = "legacy-paper"
VENUE: Final = "legacy"


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution. `name` is its id at the venue."""

    product: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who triggered a trade, with a confidence (0 to 1) and its reason."""

    triggered_by: str | None
    confidence: str
    why: str
    bot: str

    def metadata(self) -> dict[str, str]:
        return {"triggered_by_confidence": self.confidence, "triggered_by_why": self.why, "bot_id": self.bot}


def translated_alone(
    context: Context, trade: TradeRow, twins: Sequence[TradeRow] = (), flags: tuple[str, ...] = ()
) -> Translation:
    """Translate a row without a known fill to an event. `twins` are rows on the same execution, merged into it."""
    if trade.decided.get("action") == "archive":
        fate = Fate("trades", trade.key, "archived", "decided: it did not happen")
        return Translation([fate], seen=seen_trade(context, trade, until=PAPER if trade.paper else QUARANTINED))
    if trade.status and not trade.success:
        return Translation([Fate("trades", trade.key, "archived", f"status {trade.status[:20]}: not executed")])
    try:
        return _own_event(context, trade, twins, flags)
    except Undecided as undecided:
        about = [trade, *twins]
        return Translation(
            [Fate("trades", one.key, "quarantined", str(undecided), flags) for one in about],
            seen=[
                seen for one in about for seen in seen_trade(context, one, until=PAPER if one.paper else QUARANTINED)
            ],
        )


def _own_event(context: Context, trade: TradeRow, twins: Sequence[TradeRow], flags: tuple[str, ...]) -> Translation:
    if not trade.status:
        raise Undecided("status is missing: the trade may not have been executed")
    if trade.problem or trade.side is None or trade.at is None:
        raise Undecided(trade.problem or "side or time is missing")
    quantity, unit, more = quantity_of(trade)
    about = [trade, *twins]
    fee, fee_source = next(((one.fee, one.fee_source) for one in about if one.fee), (ZERO, "none"))
    done = Execution(trade.product, trade.side, quantity, trade.price, fee, f"trades-{trade.key}"[:100], trade.at)
    attribution = attributed(about, context)
    event = event_for(context, done, attribution, paper=trade.paper)
    flags = (*flags, *more)
    merged = merged_into(context, [(one.key, one.row) for one in twins])
    metadata = origin(
        context,
        "trades",
        trade.key,
        trade.row,
        order_id=trade.order_id,
        unit=unit,
        fee_source=fee_source,
        flags=flags,
        decided=dict(trade.decided),
        merged=merged,
        **attribution.metadata(),
    )
    portfolio_id = context.paper_id if trade.paper else context.portfolio_id
    id_ = event_id(portfolio_id, "trades", trade.key)
    ready = event_of_row(event, id_, trade.at, metadata, "trades", trade.key)
    found = Translation(
        [Fate("trades", trade.key, "imported", "paper trade" if trade.paper else "", flags, (id_,))],
        [Staged("trades", trade.key, trade.id, portfolio_id, trade.product, ready, trade.legacy_fee)],
        seen_trade(context, trade, quantity, [(quantity, trade.price)], until=PAPER if trade.paper else None),
    )
    for twin in twins:
        why, flag = f"same execution as row {trade.key}", "merged by time and quantity, without a fill"
        found.fates.append(Fate("trades", twin.key, "merged", why, (flag,), (id_,)))
        found.seen += seen_trade(context, twin, until=PAPER if trade.paper else DUPLICATE)
    return found


def event_for(context: Context, done: Execution, attribution: Attribution, *, paper: bool = False) -> TradeExecuted:
    """Return the event of the execution. Raises Undecided if this portfolio cannot contain it."""
    try:
        instrument = instrument_of(done.product)
        if instrument is None:
            raise Undecided(f"{done.product} is not an instrument such as BTC-USD")
        if instrument.quote != context.base:
            raise Undecided(
                f"priced in {instrument.quote}, not in the portfolio's {context.base}:"
                f" import into another portfolio with --base {instrument.quote}"
            )
        event = TradeExecuted(
            account=PAPER_ACCOUNT if paper else ACCOUNT,
            venue=VENUE,
            venue_trade_id=done.name,
            instrument=instrument,
            side=done.side,
            quantity=done.quantity,
            price=done.price,
            fees=(Fee(asset=Asset(instrument.quote), amount=done.fee),) if done.fee else (),
            quote_rate=Decimal(1),
            triggered_by=attribution.triggered_by,
        )
    except ValidationError as error:
        raise Undecided(sentences(error)) from None
    if gross_value(event) >= LARGEST:
        raise Undecided(f"size * price is too large (limit: {LARGEST:.0e})")
    return event


def attributed(about: Sequence[TradeRow], context: Context) -> Attribution:
    """Determine who triggered the execution of these rows. A bot counts only if a row contains its score."""
    with_bot = [one for one in about if one.bot_id]
    scored = [one for one in with_bot if one.scored]
    if not about:
        return Attribution("sync", "0", "known from the exchange only", "")
    if not with_bot:
        return Attribution(None, "1", "the row has no bot", "")
    if not scored:
        return Attribution("sync", "0", "the row has a bot, but no score of it", with_bot[0].bot_id)
    bot = next((one for one in scored if one.status == "completed"), scored[0])
    source, bots = f"bot:legacy-{bot.bot_id[:60]}", {one.bot_id for one in scored}
    if len(bots) > 1:
        return Attribution(source, "0.3", "several bots have rows of it", ",".join(sorted(bots)))
    if bot.bot_id not in context.bots:
        return Attribution(source, "0.5", "the bot no longer exists", bot.bot_id)
    if bot.status == "completed":
        return Attribution(source, "0.95", "the bot's own order with its score", bot.bot_id)
    return Attribution(source, "0.6", "synced to the first bot of the pair, with a score", bot.bot_id)
