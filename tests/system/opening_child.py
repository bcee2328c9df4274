"""A process that opens and closes a store again and again, with a lookup in between.

Started as ``python opening_child.py ORDER``. It tells what went wrong on standard output, as one line of JSON.
"""

import asyncio
import json
import logging
import sys

from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache


async def validate(symbol, timeframes):
    return ValidationResult(is_valid=True, symbol=symbol, head_timestamps=dict.fromkeys(timeframes, "1980-12-12"))


def main():
    logging.disable()
    order = json.loads(sys.argv[1])
    settings = SymcacheSettings(**order["settings"])
    failed, degraded = [], 0
    for number in range(order["times"]):
        try:
            cache = open_symbol_cache(settings)
            asyncio.run(cache.get_or_validate(f"S{number % 10}", ("1d",), validate))
            degraded += cache.get_stats().degraded
            cache.close()
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
    print(json.dumps({"failed": failed, "degraded": degraded}))


if __name__ == "__main__":
    main()
