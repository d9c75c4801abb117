"""An order's terms in the words of a venue's client, and what is wrong with them before anything is sent."""

from decimal import Decimal

from execution.exchanges.ccxt.parsing import Row, number_or_none, section
from execution.exchanges.ccxt.venue_facts import VenueFacts
from execution.exchanges.exchange import OrderTicket, unsupported_terms
from ledger.values import decimal_text


def unsendable_terms(ticket: OrderTicket, facts: VenueFacts, market: Row) -> str | None:
    """Why the venue cannot take the order as it is, in one sentence, or None. The client itself checks no minimum."""
    if not facts.client_id_pattern.fullmatch(ticket.client_order_id) or len(ticket.client_order_id) > 36:
        return f"{ticket.client_order_id[:80]!r} is no client order id at {facts.venue}"
    return unsupported_terms(ticket.side, ticket, facts.supported) or _too_small(ticket, market)


def quote_amount(ticket: OrderTicket, facts: VenueFacts) -> Decimal | None:
    """What the order spends or brings in quote, in whole steps where the venue has such; None when it is sized in base."""
    if ticket.quote_size is None or facts.quote_step is None:
        return ticket.quote_size
    return ticket.quote_size - ticket.quote_size % facts.quote_step


def plain(value: Decimal | None) -> str | None:
    """The number as text, which the client keeps as it is."""
    return None if value is None else decimal_text(value)


def terms_of(ticket: OrderTicket) -> dict[str, object]:
    """The client's parameters for a stop price and a time in force; a limit order without one rests."""
    terms: dict[str, object] = {}
    if ticket.stop_price is not None:
        terms["stopLossPrice"] = plain(ticket.stop_price)
    if ticket.time_in_force not in (None, "gtc"):
        terms["timeInForce"] = str(ticket.time_in_force).upper()
    return terms


def _too_small(ticket: OrderTicket, market: Row) -> str | None:
    limits, size = section(market, "limits"), ticket.base_size
    least, most = (number_or_none(section(limits, "amount"), name) for name in ("min", "max"))
    if size is not None and least is not None and size < least:
        return f"{plain(size)} is below the venue's least size {plain(least)}"
    if size is not None and most is not None and size > most:
        return f"{plain(size)} is above the venue's largest size {plain(most)}"
    value = ticket.quote_size if size is None or ticket.limit_price is None else size * ticket.limit_price
    least_value = number_or_none(section(limits, "cost"), "min")
    if value is not None and least_value is not None and value < least_value:
        return f"a value of {plain(value)} is below the venue's least value {plain(least_value)}"
    return None
