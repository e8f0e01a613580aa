"""How the API says no: RFC 9457 problem documents with a stable `code` and sentences for people.

    Problem             the answer is this problem document
    ├── NotSignedIn     401
    ├── AdminOnly       403
    ├── DutyFirst       403, the account can do nothing before its person has done something
    └── NotAllowedNow   409, with the thing as it is now

What `store` refuses (`store.refusals`) and what the database does (it is away) are translated here as well,
so that a route only writes down what happens when all is well.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import psycopg
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from store import refusals

MEDIA_TYPE = "application/problem+json"
DATABASE_RETRY_S = 2
"""The pool looks for the database about so often."""

_log = structlog.get_logger("monitor")


class Fault(BaseModel):
    """One value that is not allowed. `line` is that of an import file."""

    line: int | None = None
    field: str
    problem: str
    code: str | None = Field(default=None, description="Stable name of what is wrong, where it has one …")
    params: dict[str, str | int] | None = Field(default=None, description="… and what its sentence names.")


class ProblemDocument(BaseModel):
    """Why the request was not done (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable name of the problem, for programs and translation.")
    params: dict[str, str | int] | None = Field(default=None, description="What its sentence names.")
    errors: list[Fault] | None = None
    current: dict[str, Any] | None = Field(default=None, description="The alarm or ticket as it is now.")


class Problem(Exception):
    """The answer is this problem document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    def response(self) -> Response:
        """Give the problem document as an answer."""
        document = ProblemDocument(
            title=HTTPStatus(self.status).phrase, status=self.status, detail=self.detail, code=self.code
        ).model_dump(exclude_none=True)
        return JSONResponse(
            {**document, **jsonable_encoder(self.more)},
            self.status,
            {"Cache-Control": "no-store", **self.headers},
            MEDIA_TYPE,
        )


class TooLarge(HTTPException):
    """The body has more than `limit` bytes. An HTTPException, for nothing else passes who reads the body."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The body may have {limit} bytes.")
        self.limit = limit


class NotSignedIn(Problem):
    """Nobody is signed in with this request."""

    def __init__(self) -> None:
        super().__init__(401, "not_signed_in", "Sign in first.")


class AdminOnly(Problem):
    """An operator asked for what admins do."""

    def __init__(self) -> None:
        super().__init__(403, "admin_only", "Only an admin may do this.")


class DutyFirst(Problem):
    """The account can do nothing before its person has done something, `change_password` for example."""

    def __init__(self, duty: str) -> None:
        what = {
            "change_password": "choose a password of your own",
            "set_up_second_factor": "set up your second factor",
        }[duty]
        super().__init__(403, f"must_{duty}", f"First {what}; this account can do nothing else until then.")


class NotAllowedNow(Problem):
    """Somebody was faster, or the state does not allow it."""

    def __init__(self, detail: str, current: Mapping[str, Any]) -> None:
        super().__init__(409, "not_allowed_now", detail, current=current)


REFUSALS: dict[type[refusals.Refused], tuple[int, str]] = {
    refusals.NotFound: (404, "not_found"),
    refusals.AlreadyExists: (409, "already_exists"),
    refusals.AlreadyBound: (409, "already_bound"),
    refusals.NotBound: (409, "not_bound"),
    refusals.LastAdmin: (409, "last_admin"),
    refusals.Unacceptable: (422, "invalid"),
    refusals.BadCursor: (400, "bad_cursor"),
    refusals.RosterInvalid: (422, "import_invalid"),
}

HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 400: "bad_request", 413: "too_large"}


def translate(error: Exception) -> Problem:
    """Give the problem that `error` is for the one who asked."""
    match error:
        case Problem():
            return error
        case refusals.Unacceptable():
            return invalid(error.field, error.code, **error.params)
        case refusals.RosterInvalid():
            faults = [
                {"line": each.line, **_fault(each.column, each.code, each.params)} for each in error.faults
            ]
            return Problem(422, "import_invalid", str(error), errors=faults)
        case TooLarge():
            return Problem(413, "too_large", error.detail, params={"bytes": error.limit})
        case refusals.Refused():
            return Problem(*REFUSALS[type(error)], str(error))
        case RequestValidationError():
            faults = [{"field": _place(e["loc"]), "problem": e["msg"]} for e in error.errors()]
            listed = "; ".join(f"{fault['field']}: {fault['problem']}" for fault in faults[:5])
            return Problem(422, "invalid", listed, errors=faults)
        case HTTPException():
            code = HTTP_CODES.get(error.status_code, "http_error")
            return Problem(error.status_code, code, str(error.detail), headers=error.headers)
        case (
            psycopg.OperationalError()
            | psycopg.InterfaceError()
            | PoolTimeout()
            | PoolClosed()
            | TooManyRequests()
        ):
            return database_unavailable()
        case _:
            return Problem(500, "internal", "Something went wrong in the monitor; its messages say what.")


def invalid(field: str, code: str, **params: str | int) -> Problem:
    """One value is not allowed."""
    fault = _fault(field, code, params)
    return Problem(422, "invalid", f"{field}: {fault['problem']}", errors=[fault])


def _fault(field: str, code: str, params: refusals.Params) -> dict[str, Any]:
    return {"field": field, "problem": refusals.sentence(code, params), "code": code, "params": params}


def database_unavailable() -> Problem:
    """The database is away; what terminals send is safe in the log meanwhile."""
    return Problem(
        503,
        "database_unavailable",
        "The database does not answer. Nothing was changed; try again in a moment.",
        headers={"Retry-After": str(DATABASE_RETRY_S)},
    )


def _place(location: tuple[int | str, ...]) -> str:
    """`("body", "note")` → `note`; `("query", "from")` → `from`."""
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def install(app: FastAPI) -> None:
    """Answer every error of `app` with its problem document."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = translate(error)
        if problem.status >= 500:
            path = request.url.path
            if problem.code == "internal":
                _log.error("request failed", path=path, exc_info=error)
            elif problem.code == "database_unavailable":
                _log.warning("database unavailable", path=path, error=str(error).strip())
        return problem.response()

    for kind in (Problem, refusals.Refused, RequestValidationError, psycopg.Error, PoolTimeout, PoolClosed):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(TooManyRequests, answer)
    app.add_exception_handler(Exception, answer)
