"""One map from what went wrong to an answer: RFC 9457 problem details with a stable type, for every error."""

from http import HTTPStatus
from typing import Any

import sqlalchemy
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from execution.trade_service import TradeRejected
from ledger.embedded_postgres import DatabaseUnavailable
from ledger.log import Conflict, NoSuchPortfolio
from signals.registry import BadParameters, UnknownBotKind

log = structlog.get_logger()


class Problem(Exception):
    """An answer that says no: a stable type, a status, one sentence, and more fields where they help."""

    def __init__(self, status: int, kind: str, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.more = more


AnyRequest = Request[Any, Any, Any]


def problem_response(problem: Problem, request: AnyRequest) -> Response[dict[str, object]]:
    """The problem as application/problem+json."""
    body: dict[str, object] = {
        "type": f"urn:daybook:problem:{problem.kind}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.url.path,
        **problem.more,
    }
    headers = {"WWW-Authenticate": "Bearer"} if problem.status == HTTPStatus.UNAUTHORIZED else {}
    return Response(body, status_code=problem.status, media_type="application/problem+json", headers=headers)


def _own(request: AnyRequest, error: Problem) -> Response[dict[str, object]]:
    return problem_response(error, request)


def _rejected(request: AnyRequest, error: TradeRejected) -> Response[dict[str, object]]:
    kind = error.failed.rule.replace("_", "-")
    rules = [rule.model_dump(mode="json") for rule in error.rules]
    return problem_response(
        Problem(422, f"order-rejected:{kind}", str(error), rule=error.failed.rule, rules=rules), request
    )


def _invalid(request: AnyRequest, error: ValidationException) -> Response[dict[str, object]]:
    faults = error.extra if isinstance(error.extra, list) else []
    said = "; ".join(_fault(fault) for fault in faults) or error.detail
    return problem_response(Problem(400, "invalid-request", said), request)


def _fault(fault: object) -> str:
    if not isinstance(fault, dict):
        return str(fault)
    message = str(fault.get("message", "is not valid")).removeprefix("Value error, ")
    return f"{fault['key']}: {message}" if fault.get("key") else message


def _http(request: AnyRequest, error: HTTPException) -> Response[dict[str, object]]:
    kinds = {401: "not-authorized", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}
    detail = error.detail or HTTPStatus(error.status_code).phrase
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {request.url.path}"
    kind = kinds.get(error.status_code, "invalid-request" if error.status_code < 500 else "internal")
    return problem_response(Problem(error.status_code, kind, detail), request)


def _conflict(request: AnyRequest, error: Conflict) -> Response[dict[str, object]]:
    return problem_response(Problem(409, "conflict", str(error)), request)


def _missing(request: AnyRequest, error: NoSuchPortfolio) -> Response[dict[str, object]]:
    return problem_response(Problem(404, "unknown-portfolio", str(error)), request)


def _bad_bot(request: AnyRequest, error: ValueError) -> Response[dict[str, object]]:
    return problem_response(Problem(422, "bad-bot", str(error)), request)


def _database(request: AnyRequest, error: Exception) -> Response[dict[str, object]]:
    log.error("database unavailable", path=request.url.path, error=type(error).__name__)
    detail = "the database cannot be reached just now; nothing was half-written, try again"
    return problem_response(Problem(503, "database-unavailable", detail), request)


def _unexpected(request: AnyRequest, error: Exception) -> Response[dict[str, object]]:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    detail = "an unexpected error happened and was written to the server's log"
    return problem_response(Problem(500, "internal", detail), request)


ERRORS: ExceptionHandlersMap = {
    Problem: _own,
    TradeRejected: _rejected,
    ValidationException: _invalid,
    HTTPException: _http,
    Conflict: _conflict,
    NoSuchPortfolio: _missing,
    UnknownBotKind: _bad_bot,
    BadParameters: _bad_bot,
    DatabaseUnavailable: _database,
    sqlalchemy.exc.OperationalError: _database,
    sqlalchemy.exc.TimeoutError: _database,
    Exception: _unexpected,
}
