"""What stands between a bot and a trade right now, in the words of the rules that review would apply."""

from typing import Final

from execution.review.exposure import standing_of
from execution.review.order_rules import no_unknown_order, trading_open
from execution.review.proposal import Proposal, Rule
from execution.review.risk_rules import bot_trades_today, daily_loss, drawdown, loss_streak, open_orders, trades_today
from execution.review.signal_rules import confirmed, cooled_down, no_open_order, person_agrees, warm_enough
from execution.review.sizing import temperature
from execution.review.state import DecisionState
from ledger.projections.bots import BotView
from ledger.projections.signals import SignalView, action_of
from ledger.values import ZERO, Instrument, Side, derived_id

IN_THE_WAY: Final[tuple[Rule, ...]] = (
    trading_open,
    warm_enough,
    confirmed,
    cooled_down,
    no_open_order,
    no_unknown_order,
    open_orders,
    daily_loss,
    drawdown,
    loss_streak,
    trades_today,
    bot_trades_today,
    person_agrees,
)
"""The rules that need no size to be worked out."""


def blockers(bot: BotView, state: DecisionState) -> list[str]:
    """The reasons why the bot's last opinion would not be traded now; empty when nothing is in its way."""
    if bot.status != "running":
        return [f"the bot is {bot.status}: {bot.status_reason}" if bot.status_reason else f"the bot is {bot.status}"]
    if bot.last_asof is None:
        return ["the bot has said nothing yet"]
    signal, action = _as_signal(bot, state), recommended_action(bot, state)
    side = Side(action) if action in ("buy", "sell") else None
    proposal = Proposal(Instrument(bot.instrument), side, None, None, None, None, signal, standing=standing_of(state))
    answers = [rule(proposal, state) for rule in IN_THE_WAY]
    return [answer.reason for answer in answers if not answer.passed]


def warmth(bot: BotView, state: DecisionState) -> str | None:
    """The temperature of the bot's last opinion, or None before the first."""
    return None if bot.last_score is None else temperature(bot.last_score, state)


def recommended_action(bot: BotView, state: DecisionState) -> str | None:
    """buy, sell or hold by the bot's last opinion, or None before the first."""
    return None if bot.last_score is None else action_of(bot.last_score, state.limit("action_score"))


def _as_signal(bot: BotView, state: DecisionState) -> SignalView:
    """The bot's last opinion in the shape that the rules read."""
    assert bot.last_asof is not None
    return SignalView(
        signal_id=derived_id("readiness", bot.bot_id),
        position=state.position,
        bot_id=bot.bot_id,
        instrument=bot.instrument,
        asof=bot.last_asof,
        price=ZERO,
        score=bot.last_score or ZERO,
        confidence=bot.last_confidence or ZERO,
        horizon_s=None,
        note="",
        status="emitted",
        verdict_position=None,
        failed_rules="",
        reason="",
    )
