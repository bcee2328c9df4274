"""The host service's HTTP face: routes, and what a request that does not fit gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from .guard import Guard
from .service import HostService
from .wire import (
    VERSION,
    About,
    BatchAnswer,
    DetailedHealth,
    HeadTimestampAnswer,
    Health,
    HistoricalAnswer,
    HistoricalRequest,
    Symbol,
    Timeframe,
    ValidateBatchRequest,
    ValidateRequest,
    VerdictAnswer,
)

SYMBOL_INFO_TIMEFRAMES = ("1h",)


def create_app(service: HostService, *, token: SecretStr | None = None) -> FastAPI:
    """The ASGI application over a service, which it closes when it shuts down.

    Args:
        service: What answers.
        token: The bearer token that every request must bring, if any.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await service.aclose()

    app = FastAPI(title="symcache host", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, token=token)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.include_router(_data_routes(service))
    app.include_router(_status_routes(service))
    return app


def _data_routes(service: HostService) -> APIRouter:
    async def count() -> None:
        service.requests += 1

    router = APIRouter(prefix="/data", dependencies=[Depends(count)])

    @router.post("/validate")
    async def validate(request: ValidateRequest) -> VerdictAnswer:
        return await service.validate(request.symbol, request.timeframes or ())

    @router.post("/validate-batch")
    async def validate_batch(request: ValidateBatchRequest) -> BatchAnswer:
        return await service.validate_many(request.symbols, request.timeframes or ())

    @router.get("/symbol-info/{symbol:path}")
    async def symbol_info(symbol: Symbol) -> VerdictAnswer:
        return await service.validate(symbol, SYMBOL_INFO_TIMEFRAMES)

    @router.post("/historical")
    async def historical(request: HistoricalRequest) -> HistoricalAnswer:
        return await service.historical(request)

    @router.get("/head-timestamp")
    async def head_timestamp(
        symbol: Symbol,
        timeframe: Timeframe,
        instrument_type: Annotated[str | None, Query(max_length=32)] = None,  # noqa: ARG001  # older clients send it
    ) -> HeadTimestampAnswer:
        return await service.head_timestamp(symbol, timeframe)

    return router


def _status_routes(service: HostService) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    async def about() -> About:
        return service.about()

    @router.get("/health")
    async def health() -> Health:
        return service.health()

    @router.get("/health/")
    async def detailed_health() -> DetailedHealth:
        return service.detailed_health()

    return router


async def _refuse(_request: Request, error: Exception) -> JSONResponse:
    # The input is left out: it may hold what no JSON can carry, such as a lone surrogate.
    assert isinstance(error, RequestValidationError)
    problems = [{name: problem[name] for name in ("type", "loc", "msg")} for problem in error.errors()]
    return JSONResponse({"detail": problems}, status_code=422)
