"""A portfolio's log folded by the column road: proven, folded and told as lines, a few megabytes at a time."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.events import SplitRecorded, TradeExecuted, TradeReversed
from ledger.log.envelope import Envelope
from ledger.log.hash_chain import Head, genesis_hash
from ledger.postgres.log import Raw
from ledger.postgres.views import row_kinds
from ledger.projections import PROJECTIONS
from ledger.projections.book import attempt_fold
from ledger.projections.holdings import HoldingsProjection
from ledger.projections.orders import OrdersProjection
from ledger.projections.portfolio import PortfolioView
from ledger.projections.reversals import ReversalsProjection
from ledger.projections.signals import OpinionsProjection, OpinionView
from ledger.projections.trades import TradesProjection
from ledger.replay.fast.copy import Tally, has_late, raw_events, reversed_ids, stored_lines, write_lines
from ledger.replay.fast.decode import PlainTrade, RawEvent, Unproven, envelope_of, id_of, plain_trade, proven, type_of
from ledger.replay.fast.fold import FOLDED, LINES, ORDERED, ColumnFold, Unusual
from ledger.replay.fast.lines import line_of, text_of
from ledger.replay.fast.reversals import ColumnReversals
from ledger.rows import MemoryRows, Row, all_rows, state_hash

CHUNK: Final = 20_000
"""After so many events the lines so far are handed on."""

AHEAD: Final = 8
"""So many lists of lines may wait to be written."""

Progress = Callable[[int], None]
Lines = tuple[type[Row], list[str]]

_IN_COLUMNS: Final = (HoldingsProjection, ReversalsProjection, TradesProjection)
_OTHERS: Final = tuple(one for one in PROJECTIONS if not isinstance(one, _IN_COLUMNS))
_ALL_TRADES_CONCERN_OTHERS: Final = any(
    TradeExecuted in one.events and not isinstance(one, OrdersProjection | OpinionsProjection) for one in _OTHERS
)
_FOLDED_TYPES: Final = frozenset(kind.type for kind in FOLDED)


class ColumnReplay:
    """One replay of one log. What it found is known when its `chunks` are exhausted."""

    def __init__(self, connection: Raw, portfolio_id: UUID, progress: Progress = lambda _: None) -> None:
        self.last = Head(0, genesis_hash(portfolio_id))
        self.recorded_at: datetime | None = None
        self.name = ""
        self.trades = 0
        self.broken_invariants: list[tuple[str, str, str]] = []
        self._connection = connection
        self._portfolio_id = portfolio_id
        self._progress = progress
        self._others = MemoryRows()
        self._reversals = ColumnReversals(frozenset())
        self._fold: ColumnFold | None = None

    def chunks(self) -> Generator[Lines, None, None]:
        """The lines of all rows that follow from the log, by kind, in no order.

        Raises Unusual for what this road does not know and Unproven when the chain does not hold: then nothing that was
        told counts, and the plain road has to say what there is.
        The connection belongs to this until it is exhausted or closed; it has to see one moment throughout.
        """
        late = has_late(self._connection, self._portfolio_id, [kind.type for kind in ORDERED])
        self._reversals = ColumnReversals(reversed_ids(self._connection, self._portfolio_id))
        last = b""
        with closing(raw_events(self._connection, self._portfolio_id)) as raws:
            for number, raw in enumerate(proven(self._portfolio_id, raws), start=1):
                self._take(raw, late=late)
                last = raw
                if number % CHUNK == 0:
                    self._progress(CHUNK)
                    yield from self._told()
        if last:
            envelope = envelope_of(last)
            self.last, self.recorded_at = Head(envelope.position, envelope.hash), envelope.recorded_at
            self._progress(envelope.position % CHUNK)
        if late:
            yield from self._late()
        yield from self._end()

    def _take(self, raw: RawEvent, *, late: bool) -> None:
        trade = plain_trade(raw)
        if trade is not None and self._fold is not None:
            undone = self._reversals.meet(trade.event_id)
            if not late and not self._fold.add_trade(trade, undone=undone):
                self._fold.add_event(envelope_of(raw), undone=undone)
            if self._concerns_others(trade):
                self._offer(envelope_of(raw))
            return
        kind = type_of(raw)
        if kind == SplitRecorded.type:
            raise Unusual(kind)
        envelope = envelope_of(raw)
        if kind == TradeReversed.type:
            self._reversals.add(envelope)
            return
        self._offer(envelope)
        if self._fold is None:
            self._open()
        elif kind in _FOLDED_TYPES:
            undone = self._reversals.meet(str(envelope.event_id))
            if not late:
                self._fold.add_event(envelope, undone=undone)

    def _offer(self, envelope: Envelope) -> None:
        changes, failure = attempt_fold(self._others, envelope, _OTHERS)
        if failure is not None:
            raise Unusual(failure)
        self._others.apply(changes)

    def _open(self) -> None:
        portfolio = next(self._others.where(PortfolioView), None)
        if portfolio is None or portfolio.allow_short:
            raise Unusual("no opening" if portfolio is None else "short selling")
        self.name = portfolio.name
        self._fold = ColumnFold(portfolio.base_currency)

    def _concerns_others(self, trade: PlainTrade) -> bool:
        """Whether the trade fills an order of ours or answers an opinion, which is why those folds look at trades."""
        if trade.order_id is not None or _ALL_TRADES_CONCERN_OTHERS:
            return True
        source = trade.triggered_by
        if source is None or not source.startswith("bot:"):
            return False
        return self._others.get(OpinionView, source[4:], f"{trade.base}-{trade.quote}") is not None

    def _late(self) -> Iterator[Lines]:
        """Everything of value once more, in the order in which it occurred: the database sorts what the chain has proven."""
        assert self._fold is not None
        types = sorted(_FOLDED_TYPES)
        with closing(raw_events(self._connection, self._portfolio_id, by_time=types)) as raws:
            for number, raw in enumerate(raws, start=1):
                trade, undone = plain_trade(raw), self._reversals.undoes(id_of(raw))
                if trade is None or not self._fold.add_trade(trade, undone=undone):
                    self._fold.add_event(envelope_of(raw), undone=undone)
                if number % CHUNK == 0:
                    yield from self._told()

    def _told(self) -> Iterator[Lines]:
        assert self._fold is not None
        for kind in LINES:
            lines = self._fold.lines[kind]
            if lines:
                yield kind, lines
                self._fold.lines[kind] = []

    def _end(self) -> Iterator[Lines]:
        """The rows that were kept until now: lots still open, holdings, balances, and those of the other folds."""
        found = [*all_rows(self._others, (kind for one in _OTHERS for kind in one.rows)), *self._reversals.rows()]
        if self._fold is not None:
            found += self._fold.finish()
            yield from self._told()
            self.broken_invariants = list(self._fold.broken_invariants())
            self.trades = self._fold.trades
        by_kind: dict[type[Row], list[str]] = {}
        for row in found:
            by_kind.setdefault(type(row), []).append(line_of(row))
        yield from by_kind.items()


@dataclass(frozen=True, slots=True)
class Compared:
    """What replaying by the column road and comparing every stored row gave; `differing` names tables."""

    replay: ColumnReplay
    state_hash: str
    differing: tuple[str, ...]


def compared(connection: Raw, portfolio_id: UUID, generation: int | None, progress: Progress) -> Compared | None:
    """The log against the stored rows of a generation (none: against no rows); None when only the plain road can tell.

    Runs in the caller's transaction, which has to see one moment throughout and is as it was afterwards.
    """
    replay = ColumnReplay(connection, portfolio_id, progress)
    replayed = {kind: Tally() for kind in row_kinds()}

    def texts() -> Iterator[str]:
        with closing(replay.chunks()) as chunks:
            for kind, lines in chunks:
                replayed[kind].add(lines)
                for line in lines:
                    yield text_of(kind, line)

    try:
        with connection.transaction():
            found = state_hash(texts())
    except (Unusual, Unproven):
        return None
    return Compared(replay, found, tuple(_differing(connection, portfolio_id, generation, replayed)))


def _differing(
    connection: Raw, portfolio_id: UUID, generation: int | None, replayed: Mapping[type[Row], Tally]
) -> Iterator[str]:
    for kind, tally in replayed.items():
        stored = Tally()
        if generation is not None:
            with closing(stored_lines(connection, portfolio_id, generation, kind)) as lines:
                stored.add(lines)
        if stored != tally:
            yield kind.table


def written(reading: Raw, writing: Raw, portfolio_id: UUID, generation: int, progress: Progress) -> ColumnReplay | None:
    """The rows of a new generation are written; None, and nothing is written, when only the plain road can do it.

    Reads one moment on one connection and writes in the transaction of another, in a thread of its own: while the
    database stores a part, the next one is folded.
    """
    replay = ColumnReplay(reading, portfolio_id, progress)
    try:
        with writing.transaction(), ThreadPoolExecutor(1) as writer, closing(replay.chunks()) as chunks:
            waiting: deque[Future[None]] = deque()
            for kind, lines in chunks:
                waiting.append(writer.submit(write_lines, writing, portfolio_id, generation, kind, lines))
                if len(waiting) > AHEAD:
                    waiting.popleft().result()
            for one in waiting:
                one.result()
    except (Unusual, Unproven):
        return None
    return replay
