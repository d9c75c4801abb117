"""A Luno-shaped venue: Basic auth, parameters in the query even of a POST, client order ids never reusable."""

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import ClassVar, Final
from urllib.parse import parse_qsl

from execution.exchanges.simulated.candles import candles
from execution.exchanges.simulated.matching import Execution, Market, Order, OrderTerms, Rejected
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

_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_;,.-]{1,255}", re.ASCII)


class LunoShape(Shape):
    """The interface of a Luno-shaped venue."""

    markets = (
        Market(Instrument("BTC-ZAR"), Decimal(1), Decimal("0.000001"), Decimal("0.0001"), ZERO),
        Market(Instrument("ETH-ZAR"), Decimal(1), Decimal("0.000001"), Decimal("0.001"), ZERO),
    )
    prices: ClassVar = {"BTC-ZAR": Decimal(1200000), "ETH-ZAR": Decimal(60000)}
    balances: ClassVar = {"ZAR": Decimal(1000000), "BTC": Decimal(2), "ETH": Decimal(20)}
    id_scope = "lifetime"
    public = frozenset(
        ("/api/exchange/1/markets", "/api/1/ticker", "/api/1/tickers", "/api/1/orderbook", "/api/1/orderbook_top",
         "/api/1/trades")
    )  # fmt: skip
    placing = frozenset({"/api/1/marketorder", "/api/1/postorder"})
    error_names = ("error_code", "error")
    no_route = reply({"error_code": "ErrNotFound", "error": "no such route"}, 404)
    malformed = Failure("ErrInvalidArguments", "invalid arguments")
    rejections: ClassVar = {
        "unknown_market": Failure("ErrInvalidMarketPair", ""),
        "bad_size": Failure("ErrVolumeDenominationNotAllowed", ""),
        "bad_price": Failure("ErrPriceDenominationNotAllowed", ""),
        "too_small": Failure("ErrVolumeTooLow", ""),
        "too_little_value": Failure("ErrVolumeTooLow", ""),
        "no_funds": Failure("ErrInsufficientBalance", ""),
        "duplicate_id": Failure("ErrDuplicateClientOrderID", "", 409),
        "not_found": Failure("ErrOrderNotFound", "", 404),
        "not_open": Failure("ErrCannotStopUnknownOrNonPendingOrder", ""),
    }
    failures: ClassVar = {
        "rate_limited": Failure("ErrTooManyRequests", "too many requests", 429, "2"),
        "banned": Failure("ErrTooManyRequests", "too many requests", 418, "2"),
        "maintenance": Failure("ErrUnderMaintenance", "under maintenance", 503),
        "refused": Failure("ErrInsufficientBalance", "the balance is too small"),
        "unknown_503": Failure("ErrInternal", "something went wrong", 503),
        "timeout": Failure("ErrDeadlineExceeded", "deadline exceeded", 504),
    }

    def route_of(self, request: Request) -> tuple[str, Mapping[str, str]]:
        """Replace the id in the path by {id}. Like Luno, ignore the body: parameters are in the query."""
        found = re.fullmatch(r"(/api/1/(?:orders|accounts)/)([^/]+)(/transactions)?", request.path)
        query = dict(parse_qsl(request.query))
        return (f"{found[1]}{{id}}{found[3] or ''}", {**query, "id": found[2]}) if found else (request.path, query)

    def action(self, method: str, route: str) -> Action | None:
        found = _ROUTES.get((method, route))
        return found and partial(found, self)

    def authenticate(self, request: Request) -> None:
        expected = "Basic " + base64.b64encode(f"{self.key}:{self.secret}".encode()).decode()
        if not hmac.compare_digest(expected, request.headers.get("authorization", "")):
            raise VenueError("ErrUnauthorised", "unauthorised", 401)

    # --- the market ---------------------------------------------------------------------------------------------------

    def all_markets(self, _: Mapping[str, str]) -> Json:
        return {"markets": [_market(market) for market in self.matching.markets.values()]}

    def ticker(self, parameters: Mapping[str, str]) -> Json:
        return self._ticker(self._instrument(parameters))

    def tickers(self, _: Mapping[str, str]) -> Json:
        return {"tickers": [self._ticker(instrument) for instrument in self.matching.markets]}

    def order_book(self, parameters: Mapping[str, str]) -> Json:
        level = [{"price": _text(self.matching.prices[self._instrument(parameters)]), "volume": "100.00"}]
        return {"timestamp": milliseconds(self.matching.clock()), "bids": level, "asks": level}

    def public_trades(self, parameters: Mapping[str, str]) -> Json:
        instrument = self._instrument(parameters)
        found = [one for one in self.matching.executions if one.order.terms.instrument == instrument]
        named = ("sequence", "timestamp", "price", "volume", "is_buy")
        return {"trades": [{name: _trade(one)[name] for name in named} for one in found[::-1][:100]]}

    def candles(self, parameters: Mapping[str, str]) -> Json:
        instrument, length = self._instrument(parameters), timedelta(seconds=int(parameters["duration"]))
        since, now = EPOCH + timedelta(milliseconds=int(parameters["since"])), self.matching.clock()
        rows = [
            {"timestamp": milliseconds(one.opened_at), **{name: _text(getattr(one, name)) for name in _PARTS}}
            for one in candles(instrument, self.matching.prices[instrument], length, now, since, 1000)
        ]
        return {"candles": rows, "duration": int(parameters["duration"]), "pair": parameters["pair"]}

    # --- the account --------------------------------------------------------------------------------------------------

    def balance(self, _: Mapping[str, str]) -> Json:
        rows = [
            {"account_id": _account_id(asset), "asset": _asset_id(asset), "balance": _text(total),
             "reserved": _text(self.matching.locked(asset)), "unconfirmed": "0.00"}
            for asset, total in self.matching.totals.items()
        ]  # fmt: skip
        return {"balance": rows}

    def fee_info(self, _: Mapping[str, str]) -> Json:
        rate = _text(self.matching.settings.fee_rate)
        return {"maker_fee": rate, "taker_fee": rate, "thirty_day_volume": "0.00"}

    def send_networks(self, _: Mapping[str, str]) -> Json:
        return {"networks": []}

    def transactions(self, parameters: Mapping[str, str]) -> Json:
        """Rows `min_row` up to but not including `max_row`; numbers up to 0 count from the end."""
        asset = next((asset for asset in self.matching.totals if _account_id(asset) == parameters["id"]), None)
        if asset is None:
            raise VenueError("ErrAccountNotFound", "no such account", 404)
        rows = self.matching.entries.get(asset, [])
        first, end = (int(parameters[name]) for name in ("min_row", "max_row"))
        first, end = (row + len(rows) + 1 if row <= 0 else row for row in (first, end))
        return {
            "id": parameters["id"],
            "transactions": [
                {"row_index": row.row, "account_id": parameters["id"], "timestamp": milliseconds(row.at),
                 "currency": _asset_id(asset), "balance": _text(row.balance), "balance_delta": _text(row.delta),
                 "available": _text(row.balance), "available_delta": _text(row.delta), "description": row.text}
                for row in rows
                if first <= row.row < end
            ],
        }  # fmt: skip

    # --- orders -------------------------------------------------------------------------------------------------------

    def market_order(self, parameters: Mapping[str, str]) -> Json:
        buying = {"BUY": True, "SELL": False}[parameters["type"]]
        if buying != ("counter_volume" in parameters) or buying == ("base_volume" in parameters):
            raise VenueError(
                "ErrInvalidCounterVolume" if buying else "ErrInvalidBaseVolume", "the wrong volume is given"
            )
        size = Decimal(parameters["counter_volume" if buying else "base_volume"])
        if buying and size != size.quantize(_CENT):
            raise VenueError("ErrCounterDenominationNotAllowed", "amount contains too many decimal places")
        client_id, instrument = self._client_id(parameters), self._instrument(parameters)
        side, base, quote = (Side.BUY, None, size) if buying else (Side.SELL, size, None)
        return self._placed(parameters, OrderTerms(client_id, instrument, side, base, quote))

    def limit_order(self, parameters: Mapping[str, str]) -> Json:
        side = {"BID": Side.BUY, "ASK": Side.SELL}[parameters["type"]]
        size, price = Decimal(parameters["volume"]), Decimal(parameters["price"])
        client_id, instrument = self._client_id(parameters), self._instrument(parameters)
        return self._placed(parameters, OrderTerms(client_id, instrument, side, size, limit_price=price))

    def stop(self, parameters: Mapping[str, str]) -> Json:
        self.matching.cancel(self._find(order_id=parameters["order_id"]))
        return {"success": True}

    def order(self, parameters: Mapping[str, str]) -> Json:
        return _order(self._find(order_id=parameters["id"]))

    def order_now(self, parameters: Mapping[str, str]) -> Json:
        """Version 3 of the route: by order id or by client order id."""
        return _order_now(self._find(parameters.get("id"), parameters.get("client_order_id")))

    def orders(self, parameters: Mapping[str, str]) -> Json:
        state, pair = parameters.get("state"), parameters.get("pair")
        rows = [_order(order) for order in reversed(self.matching.orders)]
        return {"orders": [row for row in rows if state in (None, row["state"]) and pair in (None, row["pair"])]}

    def orders_now(self, parameters: Mapping[str, str]) -> Json:
        """Version 2 of the route, with client order ids: open orders, or with closed=true all others."""
        closed, pair = parameters.get("closed") == "true", parameters.get("pair")
        found = [order for order in reversed(self.matching.orders) if closed == (order.state != "open")]
        rows = [_order_now(order) for order in found[: int(parameters.get("limit", "100"))]]
        return {"orders": [row for row in rows if pair in (None, row["pair"])]}

    def own_trades(self, parameters: Mapping[str, str]) -> Json:
        instrument, limit = self._instrument(parameters), int(parameters.get("limit", "100"))
        since, after = int(parameters.get("since", "0")), int(parameters.get("after_seq", "0"))
        rows = [
            _trade(one)
            for one in self.matching.executions
            if one.order.terms.instrument == instrument and milliseconds(one.at) >= since and one.trade_id > after
        ]
        return {"trades": self.faults.reported(rows)[:limit]}

    def _placed(self, parameters: Mapping[str, str], terms: OrderTerms) -> Json:
        """Place the order unless its time to live is over."""
        if "ttl" in parameters:
            age = milliseconds(self.matching.clock()) - int(parameters["timestamp"])
            if not 1 <= int(parameters["ttl"]) <= 10_000:
                raise VenueError("ErrInvalidArguments", "ttl must be between 1 and 10000")
            if age > int(parameters["ttl"]):
                raise VenueError("ErrDeadlineExceeded", "could not complete before the deadline", 504)
        return {"order_id": _order_id(self.matching.place(terms))}

    def _client_id(self, parameters: Mapping[str, str]) -> str:
        given = parameters.get("client_order_id", f"server-{len(self.matching.orders) + 1}")
        if not _CLIENT_ID.fullmatch(given):
            raise VenueError("ErrInvalidClientOrderId", "invalid client order id")
        return given

    def _find(self, order_id: str | None = None, client_order_id: str | None = None) -> Order:
        for order in self.matching.orders:
            if _order_id(order) == order_id or (client_order_id and order.terms.client_order_id == client_order_id):
                return order
        raise Rejected("not_found", "Cannot find that order")

    def _instrument(self, parameters: Mapping[str, str]) -> Instrument:
        for instrument in self.matching.markets:
            if _pair(instrument) == parameters.get("pair"):
                return instrument
        raise Rejected("unknown_market", "Market pair is invalid")

    def _ticker(self, instrument: Instrument) -> Mapping[str, object]:
        price = _text(self.matching.prices[instrument])
        now = milliseconds(self.matching.clock())
        prices = dict.fromkeys(("bid", "ask", "last_trade"), price)
        return {
            "pair": _pair(instrument),
            "timestamp": now,
            **prices,
            "rolling_24_hour_volume": "10.00",
            "status": "ACTIVE",
        }


_Act = Callable[[LunoShape, Mapping[str, str]], Json]
_ROUTES: Final[Mapping[tuple[str, str], _Act]] = {
    ("GET", "/api/exchange/1/markets"): LunoShape.all_markets,
    ("GET", "/api/exchange/1/candles"): LunoShape.candles,
    ("GET", "/api/1/ticker"): LunoShape.ticker,
    ("GET", "/api/1/tickers"): LunoShape.tickers,
    ("GET", "/api/1/orderbook"): LunoShape.order_book,
    ("GET", "/api/1/orderbook_top"): LunoShape.order_book,
    ("GET", "/api/1/trades"): LunoShape.public_trades,
    ("GET", "/api/1/balance"): LunoShape.balance,
    ("GET", "/api/1/fee_info"): LunoShape.fee_info,
    ("GET", "/api/1/send/networks"): LunoShape.send_networks,
    ("GET", "/api/1/accounts/{id}/transactions"): LunoShape.transactions,
    ("POST", "/api/1/marketorder"): LunoShape.market_order,
    ("POST", "/api/1/postorder"): LunoShape.limit_order,
    ("POST", "/api/1/stoporder"): LunoShape.stop,
    ("GET", "/api/1/orders/{id}"): LunoShape.order,
    ("GET", "/api/1/listorders"): LunoShape.orders,
    ("GET", "/api/exchange/2/listorders"): LunoShape.orders_now,
    ("GET", "/api/exchange/3/order"): LunoShape.order_now,
    ("GET", "/api/1/listtrades"): LunoShape.own_trades,
}
_PARTS: Final = ("open", "high", "low", "close", "volume")
_CENT: Final = Decimal("0.01")


def _market(market: Market) -> Mapping[str, object]:
    return {
        "market_id": _pair(market.instrument),
        "trading_status": "ACTIVE",
        "base_currency": _asset_id(market.instrument.base),
        "counter_currency": _asset_id(market.instrument.quote),
        "min_volume": _text(market.minimum_size),
        "max_volume": "100.00",
        "volume_scale": 6,
        "min_price": "1.00",
        "max_price": "100000000.00",
        "price_scale": 0,
        "fee_scale": 8,
    }


def _order(order: Order) -> Mapping[str, object]:
    """Return the order as in version 1 of the routes, without the client order id."""
    row = _order_now(order)
    side = "BID" if order.terms.side is Side.BUY else "ASK"
    kept = {name: value for name, value in row.items() if name not in ("client_order_id", "side", "type", "status")}
    return {**kept, "type": side, "state": row["status"]}


def _order_now(order: Order) -> Mapping[str, object]:
    """Return the order as in the newer routes. A market order has no limits; a stopped order is COMPLETE too."""
    terms, fees = order.terms, order.fees
    base_fee = fees.get(terms.instrument.base, ZERO)
    return {
        "order_id": _order_id(order),
        "client_order_id": terms.client_order_id,
        "pair": _pair(terms.instrument),
        "side": terms.side.upper(),
        "type": "MARKET" if terms.limit_price is None else "LIMIT",
        "status": "PENDING" if order.state == "open" else "COMPLETE",
        "limit_price": _text(terms.limit_price or ZERO),
        "limit_volume": _text(terms.base_size if terms.limit_price and terms.base_size else ZERO),
        "base": _text(order.filled),
        "counter": _text(order.value),
        "fee_base": _text(base_fee),
        "fee_counter": _text(fees.get(terms.instrument.quote, ZERO)),
        "creation_timestamp": milliseconds(order.placed_at),
        "completed_timestamp": 0 if order.ended_at is None else milliseconds(order.ended_at),
        "expiration_timestamp": 0,
    }


def _trade(one: Execution) -> Mapping[str, object]:
    terms = one.order.terms
    buying = terms.side is Side.BUY
    return {
        "pair": _pair(terms.instrument),
        "sequence": one.trade_id,
        "order_id": _order_id(one.order),
        "client_order_id": terms.client_order_id,
        "type": "BID" if buying else "ASK",
        "timestamp": milliseconds(one.at),
        "price": _text(one.price),
        "volume": _text(one.quantity),
        "base": _text(one.quantity),
        "counter": _text(one.quantity * one.price),
        "fee_base": _text(one.fee if one.fee_asset == terms.instrument.base else ZERO),
        "fee_counter": _text(one.fee if one.fee_asset == terms.instrument.quote else ZERO),
        "is_buy": buying != one.maker,
    }


def _order_id(order: Order) -> str:
    return f"BX{order.number:013d}"


def _account_id(asset: str) -> str:
    return str(int.from_bytes(asset.encode()))


def _asset_id(asset: str) -> str:
    return "XBT" if asset == "BTC" else asset


def _pair(instrument: Instrument) -> str:
    return _asset_id(instrument.base) + _asset_id(instrument.quote)


def _text(value: Decimal) -> str:
    """Format a number as the venue does, with at least two decimal places."""
    return f"{value:.2f}" if value == value.quantize(_CENT) else decimal_text(value)
