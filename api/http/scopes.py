"""Who may do what: the scope that each route asks for, on one page. A route that is not here is for the owner alone."""

from typing import Final, Literal, get_args

Scope = Literal["read", "signal:emit", "trade", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

NEEDED: Final[dict[str, Scope]] = {
    # what is and was
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
    # opinions
    "emitSignal": "signal:emit",
    # what leads to orders
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
    # what review decides by
    "setLimit": "admin",
    "setTarget": "admin",
    "removeTarget": "admin",
    # what the books stand on
    "registerBot": "admin",
    "openPortfolio": "admin",
    "openAccount": "admin",
    "recordEntry": "admin",
    "reverseTrade": "admin",
}
"""By operation id. One scope does not contain another: a key has those it was issued with, the owner has all."""

OPEN: Final = frozenset({"healthLive", "healthReady"})
"""Operations that hold no data and ask for nothing."""

BY_SIGNATURE: Final = frozenset({"receiveWebhook"})
"""Operations that believe a message's signature instead of a token; all they can do is emit a signal."""
