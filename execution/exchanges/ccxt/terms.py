"""Order terms as a venue's client takes them, and checks before sending."""

from decimal import Decimal

from execution.exchanges.ccxt.parsing import Row, number_or_none, section
from execution.exchanges.ccxt.venue_facts import VenueFacts
from execution.exchanges.exchange import OrderTicket, unsupported_terms
from ledger.values import decimal_text


def unsendable_terms(ticket: OrderTicket, facts: VenueFacts, market: Row) -> str | None:
    """Return the reason, as a sentence, why the venue cannot take the order, or None. ccxt checks no minimums."""
    if not facts.client_id_pattern.fullmatch(ticket.client_order_id) or len(ticket.client_order_id) > 36:
        return f"{ticket.client_order_id[:80]!r} is not a valid client order id at {facts.venue}"
    return unsupported_terms(ticket.side, ticket, facts.supported) or _too_small(ticket, market)


def quote_amount(ticket: OrderTicket, facts: VenueFacts) -> Decimal | None:
    """Return the size in quote, rounded down to the venue's step if it has one; None for an order sized in base."""
    if ticket.quote_size is None or facts.quote_step is None:
        return ticket.quote_size
    return ticket.quote_size - ticket.quote_size % facts.quote_step


def plain(value: Decimal | None) -> str | None:
    """Return the number as text, which the client does not convert."""
    return None if value is None else decimal_text(value)


def terms_of(ticket: OrderTicket) -> dict[str, object]:
    """Return the client's parameters for a stop price and a time in force (default: good till cancelled)."""
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
        return f"size {plain(size)} is below the venue's minimum {plain(least)}"
    if size is not None and most is not None and size > most:
        return f"size {plain(size)} is above the venue's maximum {plain(most)}"
    value = ticket.quote_size if size is None or ticket.limit_price is None else size * ticket.limit_price
    least_value = number_or_none(section(limits, "cost"), "min")
    if value is not None and least_value is not None and value < least_value:
        return f"value {plain(value)} is below the venue's minimum {plain(least_value)}"
    return None
