"""The HTTP application."""

from pathlib import Path
from typing import Final

from litestar import Litestar, MediaType, Response, Router, get
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from api.auth import owner_only
from api.commands import Commands
from api.controllers.bots import BotController
from api.controllers.health import HealthController, TradingHealthController
from api.controllers.journal import JournalController
from api.controllers.portfolio import PortfolioController
from api.controllers.signals import SignalController
from api.controllers.trades import OrderController, TradeController
from api.errors import ERRORS
from api.hosts import LocalHostsOnly
from api.scheduler import Scheduler
from api.wiring import System

PAGE: Final = Path(__file__).parent / "static" / "status.html"
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " connect-src 'self'; img-src data:",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
BODY_LIMIT: Final = 256 * 1024
VERSION: Final = "0.1.0"


def create_app(system: System, scheduler: Scheduler) -> Litestar:
    """The application on a running system. Everything under /api and /health/trading is for the owner only."""
    owned = Router(
        "/",
        route_handlers=[
            PortfolioController,
            TradeController,
            OrderController,
            SignalController,
            BotController,
            JournalController,
            TradingHealthController,
        ],
        guards=[owner_only],
        security=[{"owner": []}],
    )
    return Litestar(
        route_handlers=[owned, HealthController, status_page],
        exception_handlers=ERRORS,
        openapi_config=OpenAPIConfig(
            title="Daybook",
            version=VERSION,
            path="/api/schema",
            render_plugins=[],
            components=Components(security_schemes={"owner": SecurityScheme(type="http", scheme="bearer")}),
        ),
        middleware=[LocalHostsOnly()],
        logging_config=None,
        request_max_body_size=BODY_LIMIT,
        state=State(
            {
                "system": system,
                "token_hash": system.token_hash,
                "commands": Commands(system.book, system.clock),
                "scheduler": scheduler,
            }
        ),
        debug=False,
    )


@get("/", media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=True)
def status_page() -> Response[str]:
    """The status page. It holds no data: what it shows it fetches with the token its reader gives."""
    return Response(PAGE.read_text(encoding="utf-8"), media_type=MediaType.HTML, headers=PAGE_HEADERS)
