"""Signals: recorded from outside, listed with their verdicts, approved and rejected."""

from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from pydantic import Field

from api.http.auth import caller_of
from api.http.commands import Commands
from api.http.errors import Problem
from api.http.requests import AnyRequest, Paging, Snapshot, story_of
from api.http.schemas import Answer, EventAnswer, NewSignal, Page, Request
from api.runtime.inbound_signals import emit, price_of
from api.runtime.wiring import System
from ledger.events import SignalEmitted
from ledger.events.fields import Text
from ledger.postgres.book import StoredReading
from ledger.projections.signals import SignalView
from ledger.values import Amount, Money, UtcTime
from signals.inbound.signals import six_places
from signals.runner import signal_id as id_of


class SignalRefusal(Request):
    """Reason for rejecting a signal."""

    reason: Text = ""


class SignalAnswer(Answer):
    signal_id: UUID
    position: int
    bot_id: str
    product_id: str = Field(validation_alias="instrument")
    asof: UtcTime
    price: Money
    score: Money
    confidence: Amount
    note: str
    status: str
    failed_rules: str
    reason: str


class SignalDetail(Answer):
    signal: SignalAnswer
    story: list[EventAnswer]


class SignalPage(Page):
    items: list[SignalAnswer]


class SignalController(Controller):
    path = "/api/v1/signals"
    tags = ("signals",)

    @get("/", operation_id="listSignals", sync_to_thread=True)
    def list_signals(
        self,
        snapshot: NamedDependency[Snapshot],
        paging: NamedDependency[Paging],
        bot_id: FromQuery[str | None] = None,
        status: FromQuery[str | None] = None,
        product_id: FromQuery[str | None] = None,
    ) -> SignalPage:
        """Signals with their verdicts, newest first."""
        with snapshot.reading() as reading:
            found = reading.rows.newest(
                SignalView, paging.before, paging.size + 1, bot_id=bot_id, status=status, instrument=product_id
            )
        return paging.answer(SignalPage, found)

    @get("/{signal_id:uuid}", operation_id="getSignal", sync_to_thread=True)
    def get_signal(self, snapshot: NamedDependency[Snapshot], signal_id: FromPath[UUID]) -> SignalDetail:
        """One signal and everything that followed from it; its verdict event lists every rule with its numbers."""
        with snapshot.reading() as reading:
            signal = reading.rows.get(SignalView, signal_id)
            if signal is None:
                raise Problem(404, "unknown-signal", f"there is no signal {signal_id}")
            story = story_of(reading, signal.position, snapshot.past)
            return SignalDetail.model_validate({"signal": signal, "story": story})

    @post("/", operation_id="emitSignal", status_code=201, sync_to_thread=True)
    def emit_signal(
        self, request: AnyRequest, commands: NamedDependency[Commands], data: JSONBody[NewSignal]
    ) -> Response[SignalAnswer]:
        """Records the signal of an external program and has it reviewed like any bot's signal.

        The same signal is stored once, however often it is sent; it leads to an order only through review.
        """
        command = commands.driven(data, per_caller=True)
        signal = external_signal(command.system, f"api:{caller_of(request).name}", data)
        return command.run(
            lambda: emit(command.system, signal, command.actor, command.claim),
            lambda reading: signal_answer(reading, id_of(signal)),
        )

    @post("/{waiting_id:uuid}/approve", operation_id="approveSignal", status_code=200, sync_to_thread=True)
    def approve_signal(self, commands: NamedDependency[Commands], waiting_id: FromPath[UUID]) -> Response[SignalAnswer]:
        """Approves a signal that awaits approval. It is reviewed again; if review rejects it, it keeps waiting."""
        command = commands.driven()
        return command.run(
            lambda: command.system.trader.approve(waiting_id, command.actor, command.record_as_leader),
            lambda reading: signal_answer(reading, waiting_id),
        )

    @post("/{waiting_id:uuid}/reject", operation_id="rejectSignal", status_code=200, sync_to_thread=True)
    def reject_signal(
        self, commands: NamedDependency[Commands], waiting_id: FromPath[UUID], data: JSONBody[SignalRefusal]
    ) -> Response[SignalAnswer]:
        """Rejects a signal that awaits approval."""
        command = commands.driven(data)
        return command.run(
            lambda: command.system.trader.reject(waiting_id, command.actor, data.reason, command.record_as_leader),
            lambda reading: signal_answer(reading, waiting_id),
        )


def external_signal(system: System, sender: str, data: NewSignal) -> SignalEmitted:
    """The event of a signal from outside; no bot of our own has a colon in its name. Raises UnknownProduct and NoPrice."""
    return SignalEmitted(
        bot_id=sender if data.source is None else f"{sender}/{data.source}",
        bot_version=data.version,
        parameters_hash="outside",
        instrument=data.product_id,
        asof=data.asof,
        price=price_of(system, data.product_id),
        score=six_places(data.score),
        confidence=six_places(data.confidence),
        horizon_s=data.horizon_s,
        entry=data.entry,
        take_profit=data.take_profit,
        stop_loss=data.stop_loss,
        category=data.category,
        parts=data.parts,
        note=data.note,
    )


def signal_answer(reading: StoredReading, signal_id: UUID) -> SignalAnswer:
    """A recorded signal with its current status."""
    return SignalAnswer.model_validate(reading.rows.get(SignalView, signal_id))
