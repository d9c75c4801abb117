"""Signals: what was said, by bots and from outside, and what review answered."""

from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from api.http.auth import caller_of
from api.http.commands import IdempotencyKey, Running
from api.http.errors import Problem
from api.http.reading import (
    PAST,
    AnyRequest,
    InPortfolio,
    commands_of,
    cursor_of,
    driven_only,
    limit_of_page,
    only_parameters,
    page_of,
    reading_of,
    story_of,
    system_of,
)
from api.http.schemas import SignalAnswer, SignalDetail, SignalPage
from api.runtime.emitting import emit, outside_signal
from api.runtime.signal_schemas import NewSignal, SignalRefusal
from api.runtime.wiring import System
from ledger.log.point_in_time import PointInTime
from ledger.projections.book import Record
from ledger.projections.signals import SignalView
from signals.runner import signal_id


class SignalController(Controller):
    path = "/api/v1/signals"
    tags = ("signals",)

    @get("/", operation_id="listSignals", sync_to_thread=True)
    def list_signals(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        portfolio: InPortfolio = None,
        limit: FromQuery[int] = 50,
        cursor: FromQuery[str | None] = None,
        bot_id: FromQuery[str | None] = None,
        status: FromQuery[str | None] = None,
        product_id: FromQuery[str | None] = None,
    ) -> SignalPage:
        """Signals with their verdicts, newest first."""
        only_parameters(request, *PAST, "portfolio", "limit", "cursor", "bot_id", "status", "product_id")
        size = limit_of_page(limit)
        with reading_of(request, portfolio, past) as reading:
            found = reading.rows.newest(
                SignalView, cursor_of(cursor), size + 1, bot_id=bot_id, status=status, instrument=product_id
            )
        page, following = page_of(found, size)
        return SignalPage(items=[SignalAnswer.model_validate(one) for one in page], next_cursor=following)

    @get("/{signal_id:uuid}", operation_id="getSignal", sync_to_thread=True)
    def get_signal(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        signal_id: FromPath[UUID],
        portfolio: InPortfolio = None,
    ) -> SignalDetail:
        """One signal and everything that came of it; its verdict event lists every rule with its numbers."""
        only_parameters(request, *PAST, "portfolio")
        with reading_of(request, portfolio, past) as reading:
            signal = reading.rows.get(SignalView, signal_id)
            if signal is None:
                raise Problem(404, "unknown-signal", f"there is no signal {signal_id}")
            return SignalDetail(
                signal=SignalAnswer.model_validate(signal), story=story_of(reading, signal.position, past)
            )

    @post("/", operation_id="emitSignal", status_code=201, sync_to_thread=True)
    def emit_signal(
        self,
        request: AnyRequest,
        data: JSONBody[NewSignal],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[SignalAnswer]:
        """Records what a program outside thinks and has it reviewed like any bot's opinion.

        The same signal is stored once, however often it is sent; it can lead to an order only through review.
        """
        only_parameters(request, "portfolio")
        system, caller = system_of(request), caller_of(request)
        portfolio_id = driven_only(system, portfolio)
        signal = outside_signal(system, _bot_id("api:" + caller.name, data), data)

        def act(running: Running) -> None:
            emit(system, signal, caller.actor, running.claim)

        def answer(_running: Running) -> SignalAnswer:
            return stored_signal(system, signal_id(signal))

        command = (f"POST /signals as {caller.name}", data)  # another program's key is another's, whatever it sends
        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer, 201)

    @post("/{waiting_id:uuid}/approve", operation_id="approveSignal", status_code=200, sync_to_thread=True)
    def approve_signal(
        self,
        request: AnyRequest,
        waiting_id: FromPath[UUID],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[SignalAnswer]:
        """Says yes to a signal that waits for it. Review judges it once more; where it says no, the signal waits on."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        portfolio_id = driven_only(system, portfolio)

        def act(running: Running) -> None:
            system.trader.approve(waiting_id, caller_of(request).actor, _recording(system, running))

        command = (f"POST /signals/{waiting_id}/approve", None)
        return commands_of(request).run(
            portfolio_id, idempotency_key, command, act, lambda _: stored_signal(system, waiting_id)
        )

    @post("/{waiting_id:uuid}/reject", operation_id="rejectSignal", status_code=200, sync_to_thread=True)
    def reject_signal(
        self,
        request: AnyRequest,
        waiting_id: FromPath[UUID],
        data: JSONBody[SignalRefusal],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[SignalAnswer]:
        """Says no to a signal that waits for a person's answer."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        portfolio_id = driven_only(system, portfolio)

        def act(running: Running) -> None:
            system.trader.reject(waiting_id, caller_of(request).actor, data.reason, _recording(system, running))

        command = (f"POST /signals/{waiting_id}/reject", data)
        return commands_of(request).run(
            portfolio_id, idempotency_key, command, act, lambda _: stored_signal(system, waiting_id)
        )


def _recording(system: System, running: Running) -> Record:
    """Stores events together with the key that asked for them."""
    return lambda events, position: system.leadership.record(events, position, alongside=running.claim)


def stored_signal(system: System, found: UUID) -> SignalAnswer:
    """The signal as it stands now, which was recorded."""
    with system.book.reading(system.portfolio_id) as reading:
        return SignalAnswer.model_validate(reading.rows.get(SignalView, found))


def _bot_id(sender: str, said: NewSignal) -> str:
    """The name under which a sender's source is known; no bot of ours can have one with a colon."""
    return sender if said.source is None else f"{sender}/{said.source}"
