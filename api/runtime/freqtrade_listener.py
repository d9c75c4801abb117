"""Record the signals of the configured freqtrade."""

from datetime import timedelta

import structlog

from api.runtime.inbound_signals import emit, longest_age, not_yet, price_of
from api.runtime.settings import FreqtradeSettings
from api.runtime.wiring import System
from ledger.errors import CannotRecord
from ledger.log.event_log import Conflict
from ledger.postgres.database import DATABASE_GONE
from ledger.values import Instrument
from signals.inbound.freqtrade.edges import Edge
from signals.inbound.freqtrade.listener import Emitted, FreqtradeListener, Source, websocket_of
from signals.inbound.freqtrade.rest import FreqtradeRest

log = structlog.get_logger()


def rest_of(settings: FreqtradeSettings) -> FreqtradeRest:
    """Return a client of freqtrade's HTTP interface."""
    return FreqtradeRest(settings.url, settings.username, settings.password.get_secret_value())


def listener_of(system: System, settings: FreqtradeSettings) -> FreqtradeListener:
    """Return a listener, not started yet, that records freqtrade's signals."""
    source = Source(settings.name, settings.pairs, settings.shorts)
    connect = websocket_of(settings.url, settings.ws_token.get_secret_value())

    def emit_edge(edge: Edge, instrument: Instrument) -> Emitted:
        return _emitted(system, edge, instrument)

    def longest() -> timedelta | None:
        try:
            return longest_age(system)
        except DATABASE_GONE as failure:
            log.warning("freqtrade signals wait for the database", error=type(failure).__name__)
            return None

    return FreqtradeListener(source, rest_of(settings), connect, emit_edge, system.market_clock, longest)


def _emitted(system: System, edge: Edge, instrument: Instrument) -> Emitted:
    """Record the edge's signal. Refusals are logged; what the database could not store is tried again later."""
    try:
        signal = edge.signal(instrument, price_of(system, instrument))
        new = emit(system, signal, signal.bot_id, first_wins=True)
        return Emitted("new" if new else "known", again=not_yet(system, signal))
    except CannotRecord as refused:
        log.warning("freqtrade signal refused", pair=edge.pair, side=edge.side, reason=str(refused))
        return Emitted("refused")
    except (*DATABASE_GONE, Conflict) as failure:
        log.warning("freqtrade signal waits for the database", pair=edge.pair, error=type(failure).__name__)
        return Emitted("later")
