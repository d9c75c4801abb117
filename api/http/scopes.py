"""Scopes that operations require; those not listed are for the owner only."""

from typing import Final

from api.runtime.scopes import Scope

NEEDED: Final[dict[str, Scope]] = {
    # reading
    "getPortfolio": "read",
    "getPosition": "read",
    "listPortfolios": "read",
    "listAccounts": "read",
    "listLots": "read",
    "listTrades": "read",
    "getTrade": "read",
    "listOrders": "read",
    "getOrder": "read",
    "listDifferences": "read",
    "listSignals": "read",
    "getSignal": "read",
    "listBots": "read",
    "listBotKinds": "read",
    "listBotSignals": "read",
    "getBot": "read",
    "listEvents": "read",
    "getEvent": "read",
    "getPnl": "read",
    "getPerformance": "read",
    "getEquity": "read",
    "healthTrading": "read",
    "getTrading": "read",
    "listExits": "read",
    "getFreqtrade": "read",
    "previewTrade": "read",
    "listLimits": "read",
    "listModes": "read",
    "listTargets": "read",
    "nameLots": "read",
    "verify": "read",
    # signals
    "emitSignal": "signal:emit",
    # trading
    "executeTrade": "trade",
    "haltTrading": "trade",
    "resumeTrading": "trade",
    "setExit": "trade",
    "changeExit": "trade",
    "removeExit": "trade",
    "cancelOrder": "trade",
    "resolveOrder": "trade",
    "resolveDifference": "trade",
    "approveSignal": "trade",
    "rejectSignal": "trade",
    "setMode": "trade",
    "startBot": "trade",
    "stopBot": "trade",
    "evaluateBot": "trade",
    "startFreqtrade": "trade",
    "stopFreqtrade": "trade",
    # limits and targets
    "setLimit": "admin",
    "setTarget": "admin",
    "removeTarget": "admin",
    # bots, portfolios and entries
    "registerBot": "admin",
    "openPortfolio": "admin",
    "openAccount": "admin",
    "recordEntry": "admin",
    "reverseTrade": "admin",
}
"""By operation id. Scopes do not include each other; the owner has all of them."""

OPEN: Final = frozenset({"healthLive", "healthReady"})
"""Operations without data, open to all."""

BY_SIGNATURE: Final = frozenset({"receiveWebhook"})
"""Operations authorised by the signature of the message instead of a token; they can only emit a signal."""
