"""Signals: what the bots said and what review answered."""

from uuid import UUID

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from api.errors import Problem
from api.reading import (
    PAST,
    AnyRequest,
    InPortfolio,
    cursor_of,
    limit_of_page,
    only_parameters,
    page_of,
    reading_of,
    story_of,
)
from api.schemas import SignalAnswer, SignalDetail, SignalPage
from ledger.cuts import Cut
from ledger.projections.signals import SignalView


class SignalController(Controller):
    path = "/api/v1/signals"
    tags = ("signals",)

    @get("/", operation_id="listSignals", sync_to_thread=True)
    def list_signals(
        self,
        request: AnyRequest,
        past: NamedDependency[Cut],
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
        past: NamedDependency[Cut],
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
