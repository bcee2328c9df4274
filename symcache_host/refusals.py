"""The answers to requests that are refused or invalid: each status, its shape, and when it is given."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

UNREADABLE = {"type": "json_invalid", "loc": ["body"], "msg": "the body cannot be read as JSON"}


class Refusal(BaseModel):
    """Why a request is refused."""

    detail: str = Field(description="the reason")


class Problem(BaseModel):
    """One thing that does not fit."""

    type: str = Field(description="which kind of thing")
    loc: list[str | int] = Field(description="where it is in the request")
    msg: str = Field(description="what is wrong with it")


class InvalidRequest(BaseModel):
    """Why a request is invalid."""

    detail: list[Problem] = Field(description="everything that does not fit")


Responses = dict[int | str, dict[str, Any]]

EVERYWHERE: Responses = {
    401: {
        "model": Refusal,
        "description": "The service asks for a bearer token, and this is not it",
        "headers": {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}},
    },
    421: {"model": Refusal, "description": "The service has no token, and was not called by a loopback address"},
}
PARAMETERS: Responses = {422: {"model": InvalidRequest, "description": "The request does not fit"}}
BODIES: Responses = {413: {"model": Refusal, "description": "The body has more than 1 MiB"}}
PATHS: Responses = {404: {"model": Refusal, "description": "There is nothing at this path: it names no symbol"}}


def add_refusals(app: FastAPI) -> None:
    """Make an application answer in these shapes."""
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse)


async def _refuse_invalid(_request: Request, error: Exception) -> JSONResponse:
    # The input is left out: it may hold what no JSON can carry, such as a lone surrogate.
    assert isinstance(error, RequestValidationError)
    return _invalid([{name: problem[name] for name in ("type", "loc", "msg")} for problem in error.errors()])


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # too deep for the parser, or no text
        return _invalid([UNREADABLE])
    return await http_exception_handler(request, error)


def _invalid(problems: list[dict[str, Any]]) -> JSONResponse:
    return JSONResponse({"detail": problems}, status_code=422)
