"""Rules that stop a bot's last opinion from being traded now."""

from typing import Final

from execution.review import order_rules as orders
from execution.review import signal_rules as signals
from execution.review.state import DecisionState, Opinion, Proposal, Rule, temperature
from ledger.projections.bots import BotView
from ledger.projections.signals import action_of
from ledger.values import Instrument, Side

IN_THE_WAY: Final[tuple[Rule, ...]] = (
    orders.trading_open,
    signals.warm_enough,
    signals.confirmed,
    signals.cooled_down,
    signals.no_open_order,
    orders.no_unknown_order,
    orders.open_orders,
    signals.daily_loss,
    signals.drawdown,
    signals.loss_streak,
    signals.trades_today,
    signals.bot_trades_today,
    signals.person_agrees,
)
"""The rules that need no size."""


def blockers(bot: BotView, state: DecisionState) -> list[str]:
    """The reasons why the bot's last opinion would not be traded now; empty if it would be."""
    if bot.status != "running":
        return [f"the bot is {bot.status}: {bot.status_reason}" if bot.status_reason else f"the bot is {bot.status}"]
    opinion, action = Opinion.of_bot(bot), recommended_action(bot, state)
    if opinion is None:
        return ["the bot has had no opinion yet"]
    side = Side(action) if action in ("buy", "sell") else None
    proposal = Proposal(Instrument(bot.instrument), side, None, None, None, None, opinion)
    answers = [rule(proposal, state) for rule in IN_THE_WAY]
    return [answer.reason for answer in answers if not answer.passed]


def warmth(bot: BotView, state: DecisionState) -> str | None:
    """The temperature of the bot's last opinion, or None before the first."""
    return None if bot.last_score is None else temperature(bot.last_score, state)


def recommended_action(bot: BotView, state: DecisionState) -> str | None:
    """buy, sell or hold by the bot's last opinion, or None before the first."""
    return None if bot.last_score is None else action_of(bot.last_score, state.limit("action_score"))
