"""The host service's HTTP face: its routes, and the description of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Path, Query
from fastapi.security import HTTPBearer
from pydantic import SecretStr

from .departures import Departures
from .guard import Guard
from .refusals import BODIES, EVERYWHERE, PARAMETERS, PATHS, add_refusals
from .reports import About, DetailedHealth, Health, Look
from .service import HostService
from .wire import (
    VERSION,
    BatchAnswer,
    BatchCallOptions,
    CallOptions,
    HeadTimestampAnswer,
    HistoricalAnswer,
    HistoricalRequest,
    InstrumentType,
    Symbol,
    Timeframe,
    ValidateBatchRequest,
    ValidateRequest,
    VerdictAnswer,
)

SYMBOL_INFO_TIMEFRAMES = ("1h",)

Options = Annotated[CallOptions, Header()]
BatchOptions = Annotated[BatchCallOptions, Header()]


def create_app(service: HostService, *, token: SecretStr | None = None) -> FastAPI:
    """The ASGI application over a service, which it opens when it starts and closes when it shuts down.

    Args:
        service: What answers.
        token: The bearer token that every request must bring, if any.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await service.open()
        try:
            yield
        finally:
            await service.aclose()

    # The guard checks the token; this only describes it.
    described = [] if token is None else [Depends(HTTPBearer(auto_error=False, description="the host's token"))]
    app = FastAPI(
        title="symcache host",
        description="Which symbols are valid, and their bars, from a gateway and from what it said before.",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=described,
        responses=EVERYWHERE,
    )
    app.add_middleware(Guard, token=token)
    app.add_middleware(Departures)  # around the guard, since the one that is added last is the outermost
    add_refusals(app)
    app.include_router(_data_routes(service))
    app.include_router(_status_routes(service))
    return app


def _data_routes(service: HostService) -> APIRouter:
    async def count() -> None:
        service.requests += 1

    router = APIRouter(prefix="/data", dependencies=[Depends(count)], responses=PARAMETERS, tags=["data"])

    @router.post("/validate", responses=BODIES)
    async def validate(request: ValidateRequest, options: Options) -> VerdictAnswer:
        """Say whether a symbol is valid, which contract it is, and since when some timeframes have data."""
        return await service.validate(request.symbol, request.timeframes or (), options)

    @router.post("/validate-batch", responses=BODIES)
    async def validate_batch(request: ValidateBatchRequest, options: BatchOptions) -> BatchAnswer:
        """Say the same of many symbols."""
        return await service.validate_many(request.symbols, request.timeframes or (), options)

    @router.get("/symbol-info/", include_in_schema=False)
    async def no_symbol() -> None:
        raise HTTPException(404)

    # A symbol may have a slash, and older clients do not escape it.
    @router.get("/symbol-info/{symbol:path}", responses=PATHS)
    async def symbol_info(symbol: Annotated[Symbol, Path()], options: Options) -> VerdictAnswer:
        """Say the same of one symbol, and since when it has hourly bars."""
        if "" in symbol.split("/"):  # a slash too many is part of a path, and of no symbol
            raise HTTPException(404)
        return await service.validate(symbol, SYMBOL_INFO_TIMEFRAMES, options)

    @router.post("/historical", responses=BODIES)
    async def historical(request: HistoricalRequest, options: Options) -> HistoricalAnswer:
        """Give the bars that begin from one moment to another, both included."""
        return await service.historical(request, options)

    @router.get("/head-timestamp")
    async def head_timestamp(
        symbol: Annotated[Symbol, Query()],
        timeframe: Annotated[Timeframe, Query(description="the length of a bar")],
        options: Options,
        instrument_type: Annotated[InstrumentType, Query()] = None,  # noqa: ARG001  # older clients send it
    ) -> HeadTimestampAnswer:
        """Say since when a timeframe has data."""
        return await service.head_timestamp(symbol, timeframe, options)

    return router


def _status_routes(service: HostService) -> APIRouter:
    router = APIRouter(tags=["status"])

    @router.get("/")
    async def about() -> About:
        """Say what this is, and which version of the wire contract it speaks."""
        return service.about()

    # A monitor may ask for no more than the status, which HTTP itself describes, and older ones end their paths so.
    @router.head("/health", include_in_schema=False)
    @router.get("/health")
    async def health() -> Health:
        """Say whether the gateway can answer."""
        return service.health()

    @router.head("/health/", include_in_schema=False)
    @router.get("/health/")
    async def detailed_health() -> DetailedHealth:
        """Say the same, and what lies behind it."""
        return await service.detailed_health()

    @router.head("/health/detailed/", include_in_schema=False)
    @router.get("/health/detailed/", include_in_schema=False)
    @router.head("/health/detailed", include_in_schema=False)
    @router.get("/health/detailed")
    async def detailed_health_by_name() -> DetailedHealth:
        """Say the same as the route before, under the name that older monitors ask for."""
        return await service.detailed_health()

    @router.post("/health/look")
    async def look() -> Look:
        """Look at the gateway now: connect at once if need be, and ask for what it has to know.

        Whoever asks while a look is under way, or has just been taken, shares it.
        """
        return await service.look()

    return router
