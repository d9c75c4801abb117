"""Which rules there are, in the order in which they are told, and which of them only delay."""

from typing import Final

from execution.review.order_rules import (
    account_known,
    enough_available,
    in_steps,
    no_unknown_order,
    price_known,
    product_known,
    terms_taken,
    trading_open,
    venue_minimum,
)
from execution.review.proposal import Rule
from execution.review.risk_rules import (
    bot_trades_today,
    daily_loss,
    drawdown,
    exposure,
    loss_streak,
    maximum_trade,
    open_orders,
    position_share,
    price_band,
    trades_today,
)
from execution.review.signal_rules import (
    between_exits,
    confirmed,
    cooled_down,
    enough_confidence,
    fresh_signal,
    minimum_trade,
    newest_signal,
    no_open_order,
    person_agrees,
    says_act,
    warm_enough,
)

FIRST: Final[Rule] = fresh_signal
"""The rule for signals whose no is an expiry, whatever the others say."""

FOR_EVERY_ORDER: Final[tuple[Rule, ...]] = (
    trading_open,
    account_known,
    product_known,
    terms_taken,
    price_known,
    no_unknown_order,
    in_steps,
    venue_minimum,
    enough_available,
    price_band,
    position_share,
    exposure,
    open_orders,
)
FOR_SIGNALS: Final[tuple[Rule, ...]] = (
    newest_signal,
    enough_confidence,
    warm_enough,
    says_act,
    confirmed,
    cooled_down,
    no_open_order,
    between_exits,
    minimum_trade,
    maximum_trade,
    daily_loss,
    drawdown,
    loss_streak,
    trades_today,
    bot_trades_today,
    person_agrees,
)

NOT_YET: Final = frozenset(
    rule.__name__
    for rule in (
        trading_open,
        price_known,
        no_unknown_order,
        enough_confidence,
        confirmed,
        cooled_down,
        no_open_order,
        open_orders,
        daily_loss,
        loss_streak,
        trades_today,
        bot_trades_today,
    )
)
"""The rules whose no says nothing against the opinion itself: said again, it may pass."""
