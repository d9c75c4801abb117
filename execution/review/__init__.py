"""May this signal or order be traded, and at which size?

`review` gives the verdict on a proposed order, which rules check against the decision `state`. A signal is checked by
`FIRST`, then by the rules `FOR_SIGNALS` and `FOR_EVERY_ORDER`, then weighed by `targets`; an order entered by hand by the rules
`FOR_EVERY_ORDER` alone. Every rule is evaluated and recorded, in this order. `readiness` applies the rules that need no size
to a bot's last opinion.
"""

from typing import Final

from execution.review import order_rules as orders
from execution.review import signal_rules as signals
from execution.review.state import Rule

FIRST: Final[Rule] = signals.fresh_signal
"""A signal that fails it expires, regardless of the other rules."""

FOR_SIGNALS: Final[tuple[Rule, ...]] = (
    signals.newest_signal,
    signals.enough_confidence,
    signals.warm_enough,
    signals.says_act,
    signals.confirmed,
    signals.cooled_down,
    signals.no_open_order,
    signals.between_exits,
    signals.minimum_trade,
    signals.maximum_trade,
    signals.daily_loss,
    signals.drawdown,
    signals.loss_streak,
    signals.trades_today,
    signals.bot_trades_today,
    signals.person_agrees,
)

FOR_EVERY_ORDER: Final[tuple[Rule, ...]] = (
    orders.trading_open,
    orders.account_known,
    orders.product_known,
    orders.terms_taken,
    orders.price_known,
    orders.no_unknown_order,
    orders.in_steps,
    orders.venue_minimum,
    orders.enough_available,
    orders.price_band,
    orders.position_share,
    orders.exposure,
    orders.open_orders,
)

NOT_YET: Final = frozenset(
    rule.__name__
    for rule in (
        orders.trading_open,
        orders.price_known,
        orders.no_unknown_order,
        orders.open_orders,
        signals.enough_confidence,
        signals.confirmed,
        signals.cooled_down,
        signals.no_open_order,
        signals.daily_loss,
        signals.loss_streak,
        signals.trades_today,
        signals.bot_trades_today,
    )
)
"""Rules that may pass later for the same opinion: a signal that fails only these is held, not rejected."""
