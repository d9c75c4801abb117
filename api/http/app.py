"""The HTTP application: routes, guards, the OpenAPI document, the status page and shared state."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any, Final

from litestar import Litestar, MediaType, Response, Router, get
from litestar.concurrency import sync_to_thread
from litestar.datastructures import MutableScopeHeaders, State
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, Reference, SecurityScheme
from litestar.types import Message, Scope

from api.http.auth import by_scope
from api.http.commands import WRITES, InProgress
from api.http.errors import ERRORS
from api.http.hosts import LocalHostsOnly
from api.http.openapi import OpenApiDocument
from api.http.requests import POSITION, READS, known_parameters
from api.http.routes.bots import BotController
from api.http.routes.entries import AccountController, EntryController
from api.http.routes.exits import ExitController
from api.http.routes.freqtrade import FreqtradeController
from api.http.routes.health import HealthController, TradingHealthController
from api.http.routes.journal import JournalController
from api.http.routes.limits import LimitController
from api.http.routes.lots import LotController
from api.http.routes.modes import ModeController
from api.http.routes.orders import DifferenceController, OrderController
from api.http.routes.performance import PerformanceController
from api.http.routes.portfolio import PortfolioController
from api.http.routes.signals import SignalController
from api.http.routes.targets import TargetController
from api.http.routes.trades import TradeController
from api.http.routes.trading import TradingController
from api.http.routes.webhooks import WebhookController
from api.http.webhooks import Webhooks
from api.runtime.freqtrade_listener import listener_of
from api.runtime.keys import Keys, installation_key
from api.runtime.notifying import notifier_of
from api.runtime.scheduler import Scheduler
from api.runtime.wiring import System

PAGE: Final = (Path(__file__).parent.parent / "static" / "status.html").read_text(encoding="utf-8")
BODY_LIMIT: Final = 256 * 1024
SECURITY: Final[dict[str, SecurityScheme | Reference]] = {
    "owner": SecurityScheme(type="http", scheme="bearer", description="The owner's token, or a key with the scope."),
    "webhook": SecurityScheme(type="apiKey", name="X-Daybook-Signature", security_scheme_in="header"),
}
OWNED: Final = (
    PortfolioController,
    PerformanceController,
    EntryController,
    AccountController,
    LotController,
    TradeController,
    OrderController,
    DifferenceController,
    TradingController,
    ExitController,
    SignalController,
    FreqtradeController,
    BotController,
    LimitController,
    ModeController,
    TargetController,
    JournalController,
    TradingHealthController,
)
"""Controllers that require the owner's token or a key with a scope."""
FILL_PATIENCE_S: Final = 3.0
"""Longest wait for an order to end before it is answered in its state by then."""
ENDS_WITHIN_S: Final = 3.0
"""Longest wait for each background thread to end."""


def create_app(system: System, scheduler: Scheduler, fill_patience_s: float = FILL_PATIENCE_S) -> Litestar:
    """The application on a running system.

    Everything requires the owner's token or a key with the operation's scope, except the status page, /health/live,
    /health/ready and the OpenAPI document, which hold no data, and webhooks, which are authorised by a signature.
    """
    owned = Router(
        "/",
        route_handlers=OWNED,
        guards=[by_scope, known_parameters],
        dependencies={**READS, **WRITES},
        security=[{"owner": []}],
    )
    return Litestar(
        route_handlers=[owned, WebhookController, HealthController, status_page],
        exception_handlers=ERRORS,
        before_send=[add_headers],
        openapi_config=OpenAPIConfig(
            title="Daybook",
            version=version("daybook"),
            description="A trading ledger that can prove every number. Decimals and times are text.",
            use_handler_docstrings=True,
            components=Components(security_schemes=SECURITY),
            openapi_router=Router("/api/schema", route_handlers=[], include_in_schema=False, after_request=or_nothing),
            render_plugins=[OpenApiDocument()],
        ),
        middleware=[LocalHostsOnly()],
        logging_config=None,
        request_max_body_size=BODY_LIMIT,
        state=app_state(system, scheduler, fill_patience_s),
        lifespan=[background_threads],
        debug=False,
    )


def app_state(system: System, scheduler: Scheduler, fill_patience_s: float) -> State:
    """All that handlers reach through the application."""
    pepper, settings = installation_key(system.settings.data_dir), system.settings
    return State(
        {
            "system": system,
            "token_hash": system.token_hash,
            "api_keys": Keys(system.book, pepper, system.clock),
            "webhooks": Webhooks(system.book, pepper, system.clock),
            "in_progress": InProgress(),
            "freqtrade": listener_of(system, settings.freqtrade) if settings.freqtrade else None,
            "scheduler": scheduler,
            "notifier": notifier_of(system, settings.notify) if settings.notify else None,
            "fill_patience_s": fill_patience_s,
        }
    )


@asynccontextmanager
async def background_threads(app: Litestar) -> AsyncIterator[None]:
    """Run the freqtrade listener and the notifier, each in a thread of its own, while the application runs."""
    workers = [one for one in (app.state.freqtrade, app.state.notifier) if one is not None]
    threads = [Thread(target=one.run, name=type(one).__name__, daemon=True) for one in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker, thread in zip(workers, threads, strict=True):
            await sync_to_thread(worker.stop)
            await sync_to_thread(thread.join, ENDS_WITHIN_S)


@get("/", media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=False)
def status_page() -> Response[str]:
    """The status page. Contains no data: it fetches them with the token entered by its reader."""
    return Response(PAGE, media_type=MediaType.HTML, headers=PAGE_HEADERS)


def or_nothing(response: Response[Any]) -> Response[Any]:
    """The response, or our own 404 instead of Litestar's page."""
    if response.status_code == HTTPStatus.NOT_FOUND:
        raise NotFoundException
    return response


async def add_headers(message: Message, scope: Scope) -> None:
    """Add the security headers, and the log position that the answer was computed at as its ETag."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cache-Control"] = "no-store"
    position = scope.get("state", {}).get(POSITION)
    if position is not None and message["status"] < 300:
        headers["ETag"] = f'"{position}"'


def _only(kind: str, tag: str) -> str:
    """Content security policy that admits exactly the page's own script or style, by hash."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found)
    return " ".join([kind, *(f"'sha256-{one}'" for one in hashes)])


PAGE_HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; {_only('script-src', 'script')}; {_only('style-src', 'style')};"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
