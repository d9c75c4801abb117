"""A Binance-shaped venue: signed routes under /api/v3, client order ids reusable after an order has ended."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import ClassVar, Final

from execution.exchanges.simulated.candles import candles
from execution.exchanges.simulated.matching import (
    Execution,
    Market,
    Order,
    OrderState,
    OrderTerms,
    Reason,
    Rejected,
    TimeInForce,
)
from execution.exchanges.simulated.shape import (
    EPOCH,
    Action,
    Failure,
    Json,
    Request,
    Shape,
    VenueError,
    milliseconds,
    reply,
)
from ledger.values import ZERO, Instrument, Side, decimal_text

_CLIENT_ID: Final = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}", re.ASCII)
_WINDOW: Final = 5000
_LONGEST_WINDOW: Final = 60000
_STATUS: Final[dict[OrderState, str]] = {
    "cancelled": "CANCELED",
    "expired": "EXPIRED",
    "filled": "FILLED",
    "open": "NEW",
}
_MALFORMED: Final = Failure(-1102, "A mandatory parameter was not sent, was empty/null, or malformed.")
_NO_FUNDS: Final = Failure(-2010, "Account has insufficient balance for requested action.")
_TIMEOUT: Final = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."


class BinanceShape(Shape):
    """The interface of a Binance-shaped venue."""

    markets = (
        Market(Instrument("BTC-USDT"), Decimal("0.01"), Decimal("0.00001"), Decimal("0.00001"), Decimal(5)),
        Market(Instrument("ETH-USDT"), Decimal("0.01"), Decimal("0.0001"), Decimal("0.0001"), Decimal(5)),
        Market(Instrument("ETH-BTC"), Decimal("0.00001"), Decimal("0.0001"), Decimal("0.0001"), Decimal("0.0001")),
    )
    prices: ClassVar = {"BTC-USDT": Decimal(60000), "ETH-USDT": Decimal(3000), "ETH-BTC": Decimal("0.05")}
    balances: ClassVar = {"USDT": Decimal(100000), "BTC": Decimal(2), "ETH": Decimal(20), "BNB": Decimal(10)}
    id_scope = "open orders"
    public = frozenset(
        ("time", "ping", "exchangeInfo", "ticker/24hr", "ticker/price", "ticker/bookTicker", "depth", "klines")
    )
    placing = frozenset({"/api/v3/order"})
    error_names = ("code", "msg")
    no_route = reply({}, 404)
    malformed = _MALFORMED
    rejections: ClassVar = {
        "unknown_market": Failure(-1121, "Invalid symbol."),
        "bad_size": Failure(-1013, "Filter failure: LOT_SIZE"),
        "bad_price": Failure(-1013, "Filter failure: PRICE_FILTER"),
        "too_small": Failure(-1013, "Filter failure: LOT_SIZE"),
        "too_little_value": Failure(-1013, "Filter failure: NOTIONAL"),
        "would_trigger": Failure(-2010, "Stop price would trigger immediately."),
        "no_funds": _NO_FUNDS,
        "duplicate_id": Failure(-2010, "Duplicate order sent."),
        "not_found": Failure(-2013, "Order does not exist."),
        "not_open": Failure(-2011, "Unknown order sent."),
    }
    failures: ClassVar = {
        "rate_limited": Failure(-1003, "Too much request weight used.", 429, "2"),
        "banned": Failure(-1003, "Way too much request weight used; IP banned.", 418, "120"),
        "maintenance": Failure(-1016, "This service is no longer available.", 503),
        "refused": _NO_FUNDS,
        "unknown_503": Failure(-1000, "An unknown error occurred while processing the request.", 503),
        "timeout": Failure(-1007, _TIMEOUT, 503),
    }

    def route_of(self, request: Request) -> tuple[str, Mapping[str, str]]:
        return request.path.removeprefix("/api/v3/"), request.parameters()

    def action(self, method: str, route: str) -> Action | None:
        found = _ROUTES.get((method, route))
        return found and partial(found, self)

    def authenticate(self, request: Request) -> None:
        """Check key, signature of the raw text, and time of the request."""
        if request.headers.get("x-mbx-apikey") != self.key:
            raise VenueError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        text, _, signature = (request.query + request.body).rpartition("&signature=")
        expected = hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signature):
            raise VenueError(-1022, "Signature for this request is not valid.")
        parameters = request.parameters()
        window = int(parameters.get("recvWindow", _WINDOW))
        if window > _LONGEST_WINDOW:
            raise VenueError(-1131, "recvWindow must be less than 60000.")
        late_ms = milliseconds(self.matching.clock()) - int(parameters.get("timestamp", "0"))
        if late_ms < -1000:
            raise VenueError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if late_ms > window:
            raise VenueError(-1021, "Timestamp for this request is outside of the recvWindow.")

    # --- routes -------------------------------------------------------------------------------------------------------

    def time(self, _: Mapping[str, str]) -> Json:
        return {"serverTime": milliseconds(self.matching.clock())}

    def exchange_info(self, _: Mapping[str, str]) -> Json:
        symbols = [_symbol(market) for market in self.matching.markets.values()]
        return {"timezone": "UTC", "serverTime": milliseconds(self.matching.clock()), "symbols": symbols}

    def ticker(self, parameters: Mapping[str, str]) -> Json:
        if "symbol" in parameters:
            return self._ticker(self._instrument(parameters))
        return [self._ticker(instrument) for instrument in self.matching.markets]

    def depth(self, parameters: Mapping[str, str]) -> Json:
        price = _text(self.matching.prices[self._instrument(parameters)])
        return {"lastUpdateId": 1, "bids": [[price, "100.00000000"]], "asks": [[price, "100.00000000"]]}

    def klines(self, parameters: Mapping[str, str]) -> Json:
        instrument, now = self._instrument(parameters), self.matching.clock()
        length, limit = _INTERVALS[parameters["interval"]], min(int(parameters.get("limit", "500")), 1000)
        since = EPOCH + timedelta(milliseconds=int(parameters["startTime"])) if "startTime" in parameters else None
        return [
            [milliseconds(one.opened_at), *map(_text, (one.open, one.high, one.low, one.close, one.volume)),
             milliseconds(one.opened_at + length) - 1, "0", 1, "0", "0", "0"]
            for one in candles(instrument, self.matching.prices[instrument], length, now, since, limit)
        ]  # fmt: skip

    def account(self, _: Mapping[str, str]) -> Json:
        balances = [
            {"asset": asset, "free": _text(self.matching.free(asset)), "locked": _text(self.matching.locked(asset))}
            for asset in self.matching.totals
        ]
        return {
            "accountType": "SPOT",
            "canTrade": True,
            "canWithdraw": False,
            "balances": balances,
            "permissions": ["SPOT"],
        }

    def key_permissions(self, _: Mapping[str, str]) -> Json:
        may_withdraw = self.faults.take({"withdrawals"}, placing=False) is not None
        return {"enableReading": True, "enableSpotAndMarginTrading": True, "enableWithdrawals": may_withdraw}

    def place(self, parameters: Mapping[str, str]) -> Json:
        client_id = parameters.get("newClientOrderId", f"server{len(self.matching.orders) + 1}")
        if not _CLIENT_ID.fullmatch(client_id):
            raise VenueError(
                -1100,
                "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[.A-Z:/a-z0-9_-]{1,36}$'.",
            )
        order = self.matching.place(_terms_of(client_id, self._instrument(parameters), parameters))
        fills = [
            {"price": _text(one.price), "qty": _text(one.quantity), "commission": _text(one.fee),
             "commissionAsset": one.fee_asset, "tradeId": one.trade_id}
            for one in self.matching.executions
            if one.order is order
        ]  # fmt: skip
        return {**_order(order), "transactTime": milliseconds(order.placed_at), "fills": fills}

    def order(self, parameters: Mapping[str, str]) -> Json:
        return _order(self._find(parameters))

    def cancel(self, parameters: Mapping[str, str]) -> Json:
        order = self._find(parameters, missing="not_open")
        self.matching.cancel(order)
        return _order(order)

    def open_orders(self, parameters: Mapping[str, str]) -> Json:
        instrument = self._instrument(parameters) if "symbol" in parameters else None
        return [_order(order) for order in self.matching.open_orders(instrument)]

    def all_orders(self, parameters: Mapping[str, str]) -> Json:
        instrument, since = self._instrument(parameters), int(parameters.get("startTime", "0"))
        found = [
            order
            for order in self.matching.orders
            if order.terms.instrument == instrument and milliseconds(order.placed_at) >= since
        ]
        return [_order(order) for order in found[: int(parameters.get("limit", "500"))]]

    def my_trades(self, parameters: Mapping[str, str]) -> Json:
        instrument, since = self._instrument(parameters), int(parameters.get("startTime", "0"))
        first, number = int(parameters.get("fromId", "0")), parameters.get("orderId")
        found = [
            _trade(one)
            for one in self.matching.executions
            if one.order.terms.instrument == instrument
            and one.trade_id >= first
            and milliseconds(one.at) >= since
            and number in (None, str(one.order.number))
        ]
        return self.faults.reported(found)[: int(parameters.get("limit", "500"))]

    def _find(self, parameters: Mapping[str, str], missing: Reason = "not_found") -> Order:
        """Return the order by its number, or the last one with a client id. Raises Rejected with reason `missing`."""
        instrument = self._instrument(parameters)
        for order in reversed(self.matching.orders):
            named = str(order.number) == parameters.get("orderId") or (
                order.terms.client_order_id == parameters.get("origClientOrderId")
            )
            if named and order.terms.instrument == instrument:
                return order
        raise Rejected(missing, "no such order")

    def _instrument(self, parameters: Mapping[str, str]) -> Instrument:
        for instrument in self.matching.markets:
            if instrument.replace("-", "") == parameters.get("symbol"):
                return instrument
        raise Rejected("unknown_market", "no such symbol")

    def _ticker(self, instrument: Instrument) -> Mapping[str, object]:
        price, now = _text(self.matching.prices[instrument]), milliseconds(self.matching.clock())
        named = ("lastPrice", "bidPrice", "askPrice", "openPrice", "highPrice", "lowPrice", "price", "weightedAvgPrice")
        sizes = {"bidQty": "100.00000000", "askQty": "100.00000000", "volume": "1000.00000000", "quoteVolume": "0"}
        symbol = instrument.replace("-", "")
        return {
            "symbol": symbol,
            **dict.fromkeys(named, price),
            **sizes,
            "openTime": now - 86_400_000,
            "closeTime": now,
        }


_Act = Callable[[BinanceShape, Mapping[str, str]], Json]
_ROUTES: Final[Mapping[tuple[str, str], _Act]] = {
    ("GET", "ping"): lambda shape, parameters: {},
    ("GET", "time"): BinanceShape.time,
    ("GET", "exchangeInfo"): BinanceShape.exchange_info,
    ("GET", "ticker/24hr"): BinanceShape.ticker,
    ("GET", "ticker/price"): BinanceShape.ticker,
    ("GET", "ticker/bookTicker"): BinanceShape.ticker,
    ("GET", "depth"): BinanceShape.depth,
    ("GET", "klines"): BinanceShape.klines,
    ("GET", "account"): BinanceShape.account,
    ("GET", "/sapi/v1/account/apiRestrictions"): BinanceShape.key_permissions,
    ("POST", "order"): BinanceShape.place,
    ("GET", "order"): BinanceShape.order,
    ("DELETE", "order"): BinanceShape.cancel,
    ("GET", "openOrders"): BinanceShape.open_orders,
    ("GET", "allOrders"): BinanceShape.all_orders,
    ("GET", "myTrades"): BinanceShape.my_trades,
}
_INTERVALS: Final = {
    **{f"{count}m": timedelta(minutes=count) for count in (1, 3, 5, 15, 30)},
    **{f"{count}h": timedelta(hours=count) for count in (1, 2, 4, 6, 8, 12)},
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
}


def _terms_of(client_id: str, instrument: Instrument, parameters: Mapping[str, str]) -> OrderTerms:
    """Parse the terms of an order. Raises VenueError."""

    def number(name: str) -> Decimal | None:
        return Decimal(parameters[name]) if name in parameters else None

    kind, frame = parameters.get("type", ""), _FRAMES.get(parameters.get("timeInForce", "GTC"))
    base, quote = number("quantity"), number("quoteOrderQty")
    if kind not in _KINDS or frame is None:
        raise VenueError(-1116, "Invalid orderType.")
    if (
        (base is None) == (quote is None)
        or ("LIMIT" in kind) != ("price" in parameters)
        or (base or quote or ZERO) <= 0
    ):
        raise VenueError(*_MALFORMED[:2])
    side = Side(parameters.get("side", "").lower())
    return OrderTerms(client_id, instrument, side, base, quote, number("price"), number("stopPrice"), frame)


_KINDS: Final = ("MARKET", "LIMIT", "STOP_LOSS", "STOP_LOSS_LIMIT")
_FRAMES: Final[dict[str, TimeInForce]] = {"GTC": "GTC", "IOC": "IOC", "FOK": "FOK"}


def _symbol(market: Market) -> Mapping[str, object]:
    base, quote = market.instrument.base, market.instrument.quote
    least, lot, tick = map(_text, (market.minimum_size, market.lot, market.tick))
    return {
        "symbol": f"{base}{quote}",
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": list(_KINDS),
        "quoteOrderQtyMarketAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": ["SPOT"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": least, "maxQty": "9000.00000000", "stepSize": lot},
            {"filterType": "NOTIONAL", "minNotional": _text(market.minimum_value), "applyMinToMarket": True},
        ],
    }


def _order(order: Order) -> Mapping[str, object]:
    terms = order.terms
    status = "PARTIALLY_FILLED" if order.state == "open" and order.filled else _STATUS[order.state]
    size = terms.base_size if terms.base_size is not None else order.filled
    market = "STOP_LOSS" if terms.stop_price else "MARKET"
    limit = "STOP_LOSS_LIMIT" if terms.stop_price else "LIMIT"
    placed = milliseconds(order.placed_at)
    return {
        "symbol": terms.instrument.replace("-", ""),
        "orderId": order.number,
        "orderListId": -1,
        "clientOrderId": terms.client_order_id,
        "price": _text(terms.limit_price or ZERO),
        "stopPrice": _text(terms.stop_price or ZERO),
        "origQty": _text(size),
        "origQuoteOrderQty": _text(terms.quote_size or ZERO),
        "executedQty": _text(order.filled),
        "cummulativeQuoteQty": _text(order.value),
        "status": status,
        "timeInForce": terms.time_in_force,
        "type": market if terms.limit_price is None else limit,
        "side": terms.side.upper(),
        "time": placed,
        "updateTime": placed if order.ended_at is None else milliseconds(order.ended_at),
        "isWorking": order.triggered,
    }


def _trade(one: Execution) -> Mapping[str, object]:
    return {
        "symbol": one.order.terms.instrument.replace("-", ""),
        "id": one.trade_id,
        "orderId": one.order.number,
        "orderListId": -1,
        "price": _text(one.price),
        "qty": _text(one.quantity),
        "quoteQty": _text(one.quantity * one.price),
        "commission": _text(one.fee),
        "commissionAsset": one.fee_asset,
        "time": milliseconds(one.at),
        "isBuyer": one.order.terms.side is Side.BUY,
        "isMaker": one.maker,
        "isBestMatch": True,
    }


def _text(value: Decimal) -> str:
    """Format a number as the venue does, with at least eight decimal places."""
    return f"{value:.8f}" if value == value.quantize(_EIGHT) else decimal_text(value)


_EIGHT: Final = Decimal("0.00000001")
