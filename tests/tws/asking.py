"""The real ib_async at a simulated TWS, on an event loop with simulated time: what the tests of the simulation ask."""

from contextlib import asynccontextmanager

from ib_async import IB, StartupFetchNONE
from ib_async.wrapper import RequestError

from .looptime import run
from .server import SimulatedTws


@asynccontextmanager
async def connected(client_id=1, **options):
    """A simulated TWS, and a client that raises whatever it is told in place of an answer."""
    async with SimulatedTws(**options) as tws:
        ib = await new_client(tws, client_id)
        try:
            yield tws, ib
        finally:
            ib.disconnect()
            await tws.drop()


async def new_client(tws, client_id=1):
    """A client of a simulated TWS that does not slow itself down."""
    ib = IB()
    ib.RaiseRequestErrors = True
    ib.client.MaxRequests = 0
    await ib.connectAsync("127.0.0.1", tws.port, client_id, readonly=True, fetchFields=StartupFetchNONE)
    return ib


def told(story, **options):
    """What a story about a simulated TWS and a client gives."""

    async def main():
        async with connected(**options) as (tws, ib):
            return await story(tws, ib)

    return run(main())


def answers(*requests, **options):
    """What a client is answered to each request, one after another; an error is one, too."""

    async def story(_tws, ib):
        return [await outcome(request(ib)) for request in requests]

    return told(story, **options)


async def outcome(request):
    """An answer, or the code and the words that were told in its place."""
    try:
        return await request
    except RequestError as error:
        return error.code, error.message


def heard(ib):
    """Everything that a client is told from now on, as (number of the request, code, text)."""
    notices = []
    ib.errorEvent += lambda number, code, text, _contract: notices.append((number, code, text))
    return notices
