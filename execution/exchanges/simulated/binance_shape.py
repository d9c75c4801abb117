"""A Binance-shaped venue: signed routes under /api/v3, client order ids that are free again when an order has ended."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final

from execution.exchanges.simulated.candles import candles
from execution.exchanges.simulated.faults import Faults
from execution.exchanges.simulated.matching import (
    Execution,
    Market,
    Matching,
    Order,
    OrderState,
    Reason,
    Rejected,
    TimeInForce,
    Wanted,
)
from execution.exchanges.simulated.shape import EPOCH, Answer, Json, Request, milliseconds, said
from ledger.values import ZERO, Instrument, Side, decimal_text

MARKETS: Final = (
    Market(Instrument("BTC-USDT"), Decimal("0.01"), Decimal("0.00001"), Decimal("0.00001"), Decimal(5)),
    Market(Instrument("ETH-USDT"), Decimal("0.01"), Decimal("0.0001"), Decimal("0.0001"), Decimal(5)),
    Market(Instrument("ETH-BTC"), Decimal("0.00001"), Decimal("0.0001"), Decimal("0.0001"), Decimal("0.0001")),
)
PRICES: Final = {"BTC-USDT": Decimal(60000), "ETH-USDT": Decimal(3000), "ETH-BTC": Decimal("0.05")}
BALANCES: Final = {"USDT": Decimal(100000), "BTC": Decimal(2), "ETH": Decimal(20), "BNB": Decimal(10)}

_CLIENT_ID: Final = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}", re.ASCII)
_WINDOW: Final = 5000
_LONGEST_WINDOW: Final = 60000
_PUBLIC: Final = {"time", "ping", "exchangeInfo", "ticker/24hr", "ticker/price", "ticker/bookTicker", "depth", "klines"}
_CODES: Final[dict[Reason, tuple[int, str]]] = {
    "unknown_market": (-1121, "Invalid symbol."),
    "bad_size": (-1013, "Filter failure: LOT_SIZE"),
    "bad_price": (-1013, "Filter failure: PRICE_FILTER"),
    "too_small": (-1013, "Filter failure: LOT_SIZE"),
    "too_little_value": (-1013, "Filter failure: NOTIONAL"),
    "would_trigger": (-2010, "Stop price would trigger immediately."),
    "no_funds": (-2010, "Account has insufficient balance for requested action."),
    "duplicate_id": (-2010, "Duplicate order sent."),
    "not_found": (-2013, "Order does not exist."),
    "not_open": (-2011, "Unknown order sent."),
}
_STATUS: Final[dict[OrderState, str]] = {
    "cancelled": "CANCELED",
    "expired": "EXPIRED",
    "filled": "FILLED",
    "open": "NEW",
}


class _Wrong(Exception):
    """A request that is answered with an error code."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code, self.status = code, status


@dataclass(slots=True)
class BinanceShape:
    """The door of a Binance-shaped venue with one key."""

    matching: Matching
    faults: Faults
    key: str
    secret: str
    name: str = "binance"

    def places(self, request: Request) -> bool:
        return request.method == "POST" and request.path == "/api/v3/order"

    def answer(self, request: Request) -> Answer:
        route = request.path.removeprefix("/api/v3/")
        act = _ROUTES.get((request.method, route))
        if act is None:
            return said({}, 404)
        try:
            if route not in _PUBLIC:
                self._check_signature(request)
            return said(act(self, request.parameters()))
        except Rejected as refused:
            code, text = _CODES[refused.reason]
            if refused.reason == "not_found" and request.method == "DELETE":
                code, text = _CODES["not_open"]
            return said({"code": code, "msg": text}, 400)
        except _Wrong as wrong:
            return said({"code": wrong.code, "msg": str(wrong)}, wrong.status)
        except (ArithmeticError, LookupError, ValueError):
            return said(
                {"code": -1102, "msg": "A mandatory parameter was not sent, was empty/null, or malformed."}, 400
            )

    def refuses(self, fault: str) -> Answer:
        match fault:
            case "rate_limited":
                return said({"code": -1003, "msg": "Too much request weight used."}, 429, Retry_After="2")
            case "banned":
                return said(
                    {"code": -1003, "msg": "Way too much request weight used; IP banned."}, 418, Retry_After="120"
                )
            case "timeout":
                text = (
                    "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
                )
                return said({"code": -1007, "msg": text}, 503)
            case "maintenance":
                return said({"code": -1016, "msg": "This service is no longer available."}, 503)
            case "refused":
                code, text = _CODES["no_funds"]
                return said({"code": code, "msg": text}, 400)
            case _:
                text = "An unknown error occurred while processing the request."
                return said({"code": -1000, "msg": text}, 503)

    def _check_signature(self, request: Request) -> None:
        """Raises _Wrong unless the key is ours, the signature fits the raw text, and the request came in its time."""
        if request.headers.get("x-mbx-apikey") != self.key:
            raise _Wrong(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        text, _, signature = (request.query + request.body).rpartition("&signature=")
        expected = hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signature):
            raise _Wrong(-1022, "Signature for this request is not valid.")
        parameters = request.parameters()
        window = int(parameters.get("recvWindow", _WINDOW))
        if window > _LONGEST_WINDOW:
            raise _Wrong(-1131, "recvWindow must be less than 60000.")
        late_ms = milliseconds(self.matching.clock()) - int(parameters.get("timestamp", "0"))
        if late_ms < -1000:
            raise _Wrong(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if late_ms > window:
            raise _Wrong(-1021, "Timestamp for this request is outside of the recvWindow.")

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
            {"asset": asset, "free": _text(self.matching.free(asset)), "locked": _text(self.matching.held(asset))}
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
            raise _Wrong(
                -1100,
                "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[.A-Z:/a-z0-9_-]{1,36}$'.",
            )
        order = self.matching.place(_wanted(client_id, self._instrument(parameters), parameters))
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
        order = self._find(parameters)
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
            if order.wanted.instrument == instrument and milliseconds(order.placed_at) >= since
        ]
        return [_order(order) for order in found[: int(parameters.get("limit", "500"))]]

    def my_trades(self, parameters: Mapping[str, str]) -> Json:
        instrument, since = self._instrument(parameters), int(parameters.get("startTime", "0"))
        first, number = int(parameters.get("fromId", "0")), parameters.get("orderId")
        found = [
            _trade(one)
            for one in self.matching.executions
            if one.order.wanted.instrument == instrument
            and one.trade_id >= first
            and milliseconds(one.at) >= since
            and number in (None, str(one.order.number))
        ]
        return self.faults.told(found)[: int(parameters.get("limit", "500"))]

    def _find(self, parameters: Mapping[str, str]) -> Order:
        """The order named by its number, or the last one placed under a client id. Raises Rejected."""
        instrument = self._instrument(parameters)
        for order in reversed(self.matching.orders):
            named = str(order.number) == parameters.get("orderId") or (
                order.wanted.client_order_id == parameters.get("origClientOrderId")
            )
            if named and order.wanted.instrument == instrument:
                return order
        raise Rejected("not_found", "no such order")

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


def _wanted(client_id: str, instrument: Instrument, parameters: Mapping[str, str]) -> Wanted:
    """The order that the parameters ask for. Raises _Wrong for parameters that make no order."""

    def number(name: str) -> Decimal | None:
        return Decimal(parameters[name]) if name in parameters else None

    kind, frame = parameters.get("type", ""), _FRAMES.get(parameters.get("timeInForce", "GTC"))
    base, quote = number("quantity"), number("quoteOrderQty")
    if kind not in _KINDS or frame is None:
        raise _Wrong(-1116, "Invalid orderType.")
    if (
        (base is None) == (quote is None)
        or ("LIMIT" in kind) != ("price" in parameters)
        or (base or quote or ZERO) <= 0
    ):
        raise _Wrong(-1102, "A mandatory parameter was not sent, was empty/null, or malformed.")
    side = Side(parameters.get("side", "").lower())
    return Wanted(client_id, instrument, side, base, quote, number("price"), number("stopPrice"), frame)


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
    wanted = order.wanted
    status = "PARTIALLY_FILLED" if order.state == "open" and order.filled else _STATUS[order.state]
    size = wanted.base_size if wanted.base_size is not None else order.filled
    market = "STOP_LOSS" if wanted.stop_price else "MARKET"
    limit = "STOP_LOSS_LIMIT" if wanted.stop_price else "LIMIT"
    placed = milliseconds(order.placed_at)
    return {
        "symbol": wanted.instrument.replace("-", ""),
        "orderId": order.number,
        "orderListId": -1,
        "clientOrderId": wanted.client_order_id,
        "price": _text(wanted.limit_price or ZERO),
        "stopPrice": _text(wanted.stop_price or ZERO),
        "origQty": _text(size),
        "origQuoteOrderQty": _text(wanted.quote_size or ZERO),
        "executedQty": _text(order.filled),
        "cummulativeQuoteQty": _text(order.value),
        "status": status,
        "timeInForce": wanted.time_in_force,
        "type": market if wanted.limit_price is None else limit,
        "side": wanted.side.upper(),
        "time": placed,
        "updateTime": placed if order.ended_at is None else milliseconds(order.ended_at),
        "isWorking": order.triggered,
    }


def _trade(one: Execution) -> Mapping[str, object]:
    return {
        "symbol": one.order.wanted.instrument.replace("-", ""),
        "id": one.trade_id,
        "orderId": one.order.number,
        "orderListId": -1,
        "price": _text(one.price),
        "qty": _text(one.quantity),
        "quoteQty": _text(one.quantity * one.price),
        "commission": _text(one.fee),
        "commissionAsset": one.fee_asset,
        "time": milliseconds(one.at),
        "isBuyer": one.order.wanted.side is Side.BUY,
        "isMaker": one.maker,
        "isBestMatch": True,
    }


def _text(value: Decimal) -> str:
    """The number as the venue writes it, with eight places; more where there are more."""
    return f"{value:.8f}" if value == value.quantize(_EIGHT) else decimal_text(value)


_EIGHT: Final = Decimal("0.00000001")
