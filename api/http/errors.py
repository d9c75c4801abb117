"""One map from what went wrong to an answer: RFC 9457 problem details with a stable type, for every error."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, LitestarException, MethodNotAllowedException, ValidationException
from litestar.types import ExceptionHandlersMap

from execution.exchanges.exchange import VenueUnavailable
from execution.orders.order_events import WrongOrder
from execution.orders.verdicts import WrongSignal
from execution.review.review import TradeRejected
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
from ledger.log.event_log import Conflict, NoSuchPortfolio
from ledger.postgres.database import DATABASE_GONE
from ledger.postgres.leadership import NotLeader
from signals.inbound.errors import SignalDiffers
from signals.market import FeedUnavailable
from signals.registry import BadParameters, UnknownBotKind
from signals.sandbox.discovery import BotUnusable
from signals.sandbox.process import BotRaised

log = structlog.get_logger()

PROBLEM_JSON: Final = "application/problem+json"
METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")


class Problem(DaybookError):
    """An answer that says no: a stable type, a status, one sentence, and more fields where they help."""

    def __init__(self, status: int, kind: str, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.more = more


AnyRequest = Request[Any, Any, Any]
ProblemResponse = Response[dict[str, object]]


def problem_response(problem: Problem, request: AnyRequest, **headers: str) -> ProblemResponse:
    """The problem as application/problem+json."""
    body: dict[str, object] = {
        "type": f"urn:daybook:problem:{problem.kind}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.url.path,
        **problem.more,
    }
    return Response(body, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)


def _own(request: AnyRequest, error: Problem) -> ProblemResponse:
    return problem_response(error, request)


STATUSES: Final[Mapping[type[CannotRecord], int]] = {
    NoSuchEvent: 404,
    ViewsStopped: 409,
    PortfolioIsClosed: 409,
    PortfolioExists: 409,
    AccountExists: 409,
    TradeExists: 409,
    AlreadyReversed: 409,
    SignalDiffers: 409,
}
"""The statuses of what cannot be recorded; all else is 422."""


def _cannot_record(request: AnyRequest, error: CannotRecord) -> ProblemResponse:
    status = STATUSES.get(type(error), 422)
    return problem_response(Problem(status, error.kind, str(error), **error.extras), request)


def _rejected(request: AnyRequest, error: TradeRejected) -> ProblemResponse:
    kind = error.failed.rule.replace("_", "-")
    rules = [rule.model_dump(mode="json") for rule in error.rules]
    return problem_response(
        Problem(422, f"order-rejected:{kind}", str(error), rule=error.failed.rule, rules=rules), request
    )


def _invalid(request: AnyRequest, error: ValidationException) -> ProblemResponse:
    faults = error.extra if isinstance(error.extra, list) else []
    said = "; ".join(_fault(fault) for fault in faults) or error.detail
    return problem_response(Problem(400, "invalid-request", said), request)


def _fault(fault: object) -> str:
    if not isinstance(fault, dict):
        return str(fault)
    if fault.get("key") == "data":  # the whole body, which is called so in our handlers only
        return "a JSON body is needed"
    message = str(fault.get("message", "is not valid")).removeprefix("Value error, ")
    return f"{fault['key']}: {message}" if fault.get("key") else message


def _http(request: AnyRequest, error: HTTPException) -> ProblemResponse:
    status = error.status_code
    if status == HTTPStatus.NOT_FOUND:
        return problem_response(Problem(404, "not-found", f"there is nothing at {request.url.path}"), request)
    if status == HTTPStatus.UNAUTHORIZED:
        return problem_response(Problem(401, "not-authorized", error.detail), request, **{"WWW-Authenticate": "Bearer"})
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return problem_response(Problem(413, "too-large", "a request's body may have 256 KiB at most"), request)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unexpected(request, error)
    return problem_response(Problem(status, "invalid-request", error.detail or HTTPStatus(status).phrase), request)


def _wrong_method(request: AnyRequest, _error: MethodNotAllowedException) -> ProblemResponse:
    allowed = ", ".join(_allowed(request))
    detail = f"{request.method} is not possible at {request.url.path}, only {allowed}"
    return problem_response(Problem(405, "method-not-allowed", detail), request, Allow=allowed)


def _allowed(request: AnyRequest) -> list[str]:
    """The methods that the path of this request answers."""
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


def _conflict(request: AnyRequest, error: Conflict) -> ProblemResponse:
    return problem_response(Problem(409, "conflict", str(error)), request)


def _missing(request: AnyRequest, error: NoSuchPortfolio) -> ProblemResponse:
    return problem_response(Problem(404, "unknown-portfolio", str(error)), request)


def _not_leader(request: AnyRequest, error: NotLeader) -> ProblemResponse:
    return problem_response(Problem(503, "not-leader", str(error)), request)


def _wrong_order(request: AnyRequest, error: WrongOrder) -> ProblemResponse:
    return problem_response(Problem(409, "wrong-order", str(error)), request)


def _wrong_signal(request: AnyRequest, error: WrongSignal) -> ProblemResponse:
    return problem_response(Problem(409, "wrong-signal", str(error)), request)


def _venue_away(request: AnyRequest, error: VenueUnavailable) -> ProblemResponse:
    return problem_response(Problem(503, "venue-unavailable", str(error)), request, **{"Retry-After": "10"})


def _bad_bot(request: AnyRequest, error: Exception) -> ProblemResponse:
    return problem_response(Problem(422, "bad-bot", str(error)), request)


def _database(request: AnyRequest, error: Exception) -> ProblemResponse:
    log.error("database unavailable", path=request.url.path, error=type(error).__name__)
    detail = (
        "the database cannot be reached just now; nothing was half-written: send it again with the same Idempotency-Key"
    )
    return problem_response(Problem(503, "database-unavailable", detail), request, **{"Retry-After": "5"})


def _unexpected(request: AnyRequest, error: Exception) -> ProblemResponse:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    detail = "an unexpected error happened and was written to the server's log"
    return problem_response(Problem(500, "internal", detail), request)


def _market(request: AnyRequest, error: FeedUnavailable) -> ProblemResponse:
    return problem_response(Problem(503, "market-unavailable", str(error)), request, **{"Retry-After": "5"})


ERRORS: ExceptionHandlersMap = {
    Problem: _own,
    CannotRecord: _cannot_record,
    TradeRejected: _rejected,
    ValidationException: _invalid,
    MethodNotAllowedException: _wrong_method,
    HTTPException: _http,
    UnicodeDecodeError: _undecodable,
    RecursionError: _too_deep,
    Conflict: _conflict,
    NoSuchPortfolio: _missing,
    NotLeader: _not_leader,
    WrongOrder: _wrong_order,
    WrongSignal: _wrong_signal,
    VenueUnavailable: _venue_away,
    UnknownBotKind: _bad_bot,
    BadParameters: _bad_bot,
    BotUnusable: _bad_bot,
    BotRaised: _bad_bot,
    FeedUnavailable: _market,
    **dict.fromkeys(DATABASE_GONE, _database),
    Exception: _unexpected,
}
