"""Orders to a simulated TWS in another process: a line of JSON for each, and one for what came of it."""

import asyncio
import json

from .server import SimulatedTws

ORDERS = ("fault", "clear_faults", "notice", "switch", "reset", "restart", "start", "stop", "drop", "counts")


async def serve(port, **options):
    """Run a simulated TWS and its control port for ever; the first line of output says where they are."""
    async with SimulatedTws(port=port, **options) as tws:

        async def listen(reader, writer):
            while line := await reader.readline():
                writer.write(json.dumps(await _obey(tws, json.loads(line))).encode() + b"\n")
            writer.close()

        async with await asyncio.start_server(listen, "127.0.0.1", 0) as control:
            print(json.dumps({"port": tws.port, "control": control.sockets[0].getsockname()[1]}), flush=True)
            await control.serve_forever()


async def _obey(tws, order):
    name = order.pop("do", None)
    if name not in ORDERS:
        return {"error": f"no order {name!r}; orders: {', '.join(ORDERS)}"}
    try:
        done = getattr(tws, name)(**order)
        return {"done": await done if asyncio.iscoroutine(done) else done}
    except (KeyError, TypeError, ValueError) as error:
        return {"error": str(error)}
