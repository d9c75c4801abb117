"""Which rows follow from the log? Pure folds, one file a subject."""

from typing import Final

from ledger.projections.bots import BotKindsProjection, BotsProjection, ModesProjection
from ledger.projections.exits import ExitsProjection
from ledger.projections.holdings import HoldingsProjection
from ledger.projections.orders import OrdersProjection
from ledger.projections.policy import PolicyProjection
from ledger.projections.portfolio import DifferencesProjection, PortfolioProjection
from ledger.projections.reversals import ReversalsProjection
from ledger.projections.signals import OpinionsProjection, SignalsProjection
from ledger.projections.targets import TargetsProjection
from ledger.projections.trades import TradesProjection
from ledger.projections.valuation import MarksProjection, RiskProjection
from ledger.rows import Projection

PROJECTIONS: Final[tuple[Projection, ...]] = (
    PortfolioProjection(),
    PolicyProjection(),
    ReversalsProjection(),
    HoldingsProjection(),
    TradesProjection(),
    MarksProjection(),
    BotKindsProjection(),
    BotsProjection(),
    ModesProjection(),
    SignalsProjection(),
    OpinionsProjection(),
    OrdersProjection(),
    TargetsProjection(),
    RiskProjection(),
    ExitsProjection(),
    DifferencesProjection(),
)
"""All projections, in the order they run."""

VALUE_PROJECTIONS: Final[tuple[Projection, ...]] = (
    PortfolioProjection(),
    ReversalsProjection(),
    HoldingsProjection(),
    TradesProjection(),
    MarksProjection(),
)
"""The projections that value the portfolio. They ignore all events of bots, signals and review."""
