"""freqtrade, where it is configured: listened to for as long as the application runs."""

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
    """freqtrade's HTTP interface."""
    return FreqtradeRest(settings.url, settings.username, settings.password.get_secret_value())


def listener_of(system: System, settings: FreqtradeSettings) -> FreqtradeListener:
    """What listens to freqtrade and emits what it hears; nothing runs yet."""
    source = Source(settings.name, settings.pairs, settings.shorts)
    connect = websocket_of(settings.url, settings.ws_token.get_secret_value())

    def emit_edge(edge: Edge, instrument: Instrument) -> Emitted:
        return _emitted(system, edge, instrument)

    def longest() -> timedelta | None:
        try:
            return longest_age(system)
        except DATABASE_GONE as failure:
            log.warning("signals of freqtrade wait for the database", error=type(failure).__name__)
            return None

    return FreqtradeListener(source, rest_of(settings), connect, emit_edge, system.market_clock, longest)


def _emitted(system: System, edge: Edge, instrument: Instrument) -> Emitted:
    """What became of the edge: what was refused is told in the log, what the database could not take is tried again."""
    try:
        signal = edge.signal(instrument, price_of(system, instrument))
        new = emit(system, signal, signal.bot_id, first_wins=True)
        return Emitted("new" if new else "known", again=not_yet(system, signal))
    except CannotRecord as refused:
        log.warning("a signal of freqtrade was refused", pair=edge.pair, side=edge.side, reason=str(refused))
        return Emitted("refused")
    except (*DATABASE_GONE, Conflict) as failure:
        log.warning("a signal of freqtrade waits for the database", pair=edge.pair, error=type(failure).__name__)
        return Emitted("later")
