"""A simulated TWS in a process of its own does what it is told over its control port."""

from __future__ import annotations

import asyncio

import pytest
from ib_async import IB, StartupFetchNONE, Stock
from tws.process import TwsProcess


def connected(port, request):
    async def main():
        ib = IB()
        ib.RaiseRequestErrors = True
        await ib.connectAsync("127.0.0.1", port, 7, readonly=True, fetchFields=StartupFetchNONE)
        try:
            return await request(ib)
        finally:
            ib.disconnect()
            await asyncio.sleep(0)  # the transport closes in the loop's next turn

    return asyncio.run(main())


def test_it_serves_fails_when_it_is_told_and_counts():
    async def twice(ib):
        found = await ib.reqContractDetailsAsync(Stock("AAPL", "SMART", "USD"))
        tws.do("fault", kind="details", code=200, times=1)
        with pytest.raises(Exception, match="200"):
            await ib.reqContractDetailsAsync(Stock("AAPL", "SMART", "USD"))
        return found[0].longName

    with TwsProcess() as tws:
        assert connected(tws.port, twice) == "Apple Inc."
        counts = tws.counts()
        assert (counts["requests"], counts["client_ids_used"], counts["violations"]) == ({"details": 2}, [7], {})
        tws.do("stop")
        with pytest.raises(OSError, match="Connect call failed"):
            connected(tws.port, twice)
        tws.do("start")
        assert connected(tws.port, twice)


def test_an_order_that_it_does_not_know_is_an_error_and_no_end():
    with TwsProcess("--latency", "0.01") as tws:
        with pytest.raises(ValueError, match="no order 'dance'"):
            tws.do("dance")
        with pytest.raises(ValueError, match="no requests of the kind 'wishes'"):
            tws.do("fault", kind="wishes")
        assert tws.counts()["connects"] == 0
