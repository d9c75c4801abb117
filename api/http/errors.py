"""Answers to errors: RFC 9457 problem details with a stable type, from one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, LitestarException, MethodNotAllowedException, ValidationException
from litestar.types import ExceptionHandlersMap

from execution.exchanges.exchange import VenueUnavailable
from execution.exits.manual_exits import ExitEnded, ExitExists, UnknownExit
from execution.orders.order_events import WrongOrder, WrongSignal
from ledger.entries.errors import (
    AccountExists,
    AlreadyReversed,
    NoSuchEvent,
    PortfolioExists,
    PortfolioIsClosed,
    TradeExists,
    ViewsStopped,
)
from ledger.errors import CannotRecord, DaybookError
from ledger.locks import NotLeader
from ledger.log.event_log import Conflict, NoSuchPortfolio
from ledger.postgres.database import DATABASE_GONE
from ledger.reports.lot_methods import BadChoice
from signals.inbound.errors import SignalDiffers
from signals.market.candle import FeedUnavailable
from signals.registry import BadParameters, UnknownBotKind
from signals.sandbox.discovery import BotUnusable
from signals.sandbox.process import BotRaised

log = structlog.get_logger()

PROBLEM_JSON: Final = "application/problem+json"
METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")

AnyRequest = Request[Any, Any, Any]
ProblemResponse = Response[dict[str, object]]


class Problem(DaybookError):
    """An error of this interface: status, stable kind, one sentence, and further fields for programs."""

    def __init__(self, status: int, kind: str, detail: str, **extras: object) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.extras = extras


@dataclass(frozen=True, slots=True)
class Answered:
    """Status and kind of an error class. A `CannotRecord` carries its own kind."""

    status: int
    kind: str = ""
    retry_after_s: int | None = None


PROBLEMS: Final[Mapping[type[DaybookError], Answered]] = {
    NoSuchPortfolio: Answered(404, "unknown-portfolio"),
    Conflict: Answered(409, "conflict"),
    WrongOrder: Answered(409, "wrong-order"),
    WrongSignal: Answered(409, "wrong-signal"),
    BadChoice: Answered(422, "bad-lot"),
    UnknownBotKind: Answered(422, "bad-bot"),
    BadParameters: Answered(422, "bad-bot"),
    BotUnusable: Answered(422, "bad-bot"),
    BotRaised: Answered(422, "bad-bot"),
    NotLeader: Answered(503, "not-leader"),
    VenueUnavailable: Answered(503, "venue-unavailable", retry_after_s=10),
    FeedUnavailable: Answered(503, "market-unavailable", retry_after_s=5),
    NoSuchEvent: Answered(404),
    ViewsStopped: Answered(409),
    PortfolioIsClosed: Answered(409),
    PortfolioExists: Answered(409),
    AccountExists: Answered(409),
    TradeExists: Answered(409),
    AlreadyReversed: Answered(409),
    SignalDiffers: Answered(409),
    UnknownExit: Answered(404),
    ExitExists: Answered(409),
    ExitEnded: Answered(409),
    CannotRecord: Answered(422),
}
"""By error class; a subclass without an entry is answered as its nearest base class, all others with 500."""


def problem_response(problem: Problem, request: AnyRequest, **headers: str) -> ProblemResponse:
    """The problem as application/problem+json."""
    body: dict[str, object] = {
        "type": f"urn:daybook:problem:{problem.kind}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": str(problem),
        "instance": request.url.path,
        **problem.extras,
    }
    return Response(body, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)


def _expected(request: AnyRequest, error: DaybookError) -> ProblemResponse:
    """Answer an error of our own."""
    if isinstance(error, Problem):
        return problem_response(error, request)
    answered = next((PROBLEMS[base] for base in type(error).__mro__ if base in PROBLEMS), None)
    if answered is None:
        return _unexpected(request, error)
    retry = {} if answered.retry_after_s is None else {"Retry-After": str(answered.retry_after_s)}
    kind, extras = (error.kind, error.extras) if isinstance(error, CannotRecord) else (answered.kind, {})
    return problem_response(Problem(answered.status, kind, str(error), **extras), request, **retry)


def _invalid(request: AnyRequest, error: ValidationException) -> ProblemResponse:
    faults = error.extra if isinstance(error.extra, list) else []
    detail = "; ".join(_fault(fault) for fault in faults) or error.detail
    return problem_response(Problem(400, "invalid-request", detail), request)


def _fault(fault: object) -> str:
    if not isinstance(fault, dict):
        return str(fault)
    if fault.get("key") == "data":  # the whole body
        return "a JSON body is required"
    message = str(fault.get("message", "is not valid")).removeprefix("Value error, ")
    return f"{fault['key']}: {message}" if fault.get("key") else message


def _http(request: AnyRequest, error: HTTPException) -> ProblemResponse:
    status = error.status_code
    if status == HTTPStatus.NOT_FOUND:
        return problem_response(Problem(404, "not-found", f"there is nothing at {request.url.path}"), request)
    if status == HTTPStatus.UNAUTHORIZED:
        return problem_response(Problem(401, "not-authorized", error.detail), request, **{"WWW-Authenticate": "Bearer"})
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return problem_response(Problem(413, "too-large", "the body is too large (limit: 256 KiB)"), request)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unexpected(request, error)
    return problem_response(Problem(status, "invalid-request", error.detail or HTTPStatus(status).phrase), request)


def _wrong_method(request: AnyRequest, _error: MethodNotAllowedException) -> ProblemResponse:
    allowed = ", ".join(_allowed(request))
    detail = f"{request.method} is not allowed at {request.url.path} (allowed: {allowed})"
    return problem_response(Problem(405, "method-not-allowed", detail), request, Allow=allowed)


def _allowed(request: AnyRequest) -> list[str]:
    """Methods allowed at the path of the request."""
    found = []
    for method in METHODS:
        try:
            request.app.asgi_router.handle_routing(request.scope["path"], method)
        except LitestarException:
            continue
        found.append(method)
    return found


def _undecodable(request: AnyRequest, _error: Exception) -> ProblemResponse:
    return problem_response(Problem(400, "invalid-request", "the body is not JSON in UTF-8"), request)


def _too_deep(request: AnyRequest, _error: RecursionError) -> ProblemResponse:
    return problem_response(Problem(400, "invalid-request", "the JSON is nested too deeply"), request)


def _database(request: AnyRequest, error: Exception) -> ProblemResponse:
    log.error("database unavailable", path=request.url.path, error=type(error).__name__)
    detail = "the database cannot be reached; nothing was partly stored: retry with the same Idempotency-Key"
    return problem_response(Problem(503, "database-unavailable", detail), request, **{"Retry-After": "5"})


def _unexpected(request: AnyRequest, error: Exception) -> ProblemResponse:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    detail = "unexpected error: see the server's log"
    return problem_response(Problem(500, "internal", detail), request)


ERRORS: ExceptionHandlersMap = {
    DaybookError: _expected,
    ValidationException: _invalid,
    MethodNotAllowedException: _wrong_method,
    HTTPException: _http,
    UnicodeDecodeError: _undecodable,
    RecursionError: _too_deep,
    **dict.fromkeys(DATABASE_GONE, _database),
    Exception: _unexpected,
}
