"""The codes that TWS answers with in place of a result, or tells everybody, each with its words."""

HMDS = "Historical Market Data Service error message:"
PACING = HMDS + "Historical data request pacing violation"
CANCELLED = HMDS + "API historical data query cancelled: {}"
NO_HEAD = HMDS + "No head time stamp"
OTHER_ADDRESS = "Trading TWS session is connected from a different IP address"
DISCONNECTED = (
    "Historical Market Data Service query message:HMDS server disconnect occurred.  Attempting reconnection..."
)

TEXTS = {
    100: "Max rate of messages per second has been exceeded.",
    162: HMDS + "HMDS query returned no data",
    165: "Historical market Data Service query message:HMDS server connection was successful.",
    200: "No security definition has been found for the request",
    321: "Error validating request.-'bN' : cause - Historical data request is invalid",
    320: "Server error when reading an API client request.",
    326: "Unable to connect as the client id is already in use. Retry with a unique client id.",
    354: "Requested market data is not subscribed.",
    366: "No historical data query found for ticker id",
    420: "Invalid Real-time Query: Historical data request pacing violation",
    502: "Couldn't connect to TWS. Confirm that API is enabled in TWS via the Configure>API menu command.",
    504: "Not connected",
    1100: "Connectivity between IBKR and Trader Workstation has been lost.",
    1101: "Connectivity between IBKR and Trader Workstation has been restored - data lost.",
    1102: "Connectivity between IBKR and Trader Workstation has been restored - data maintained.",
    2103: "Market data farm connection is broken:{farm}",
    2104: "Market data farm connection is OK:{farm}",
    2105: "HMDS data farm connection is broken:{farm}",
    2106: "HMDS data farm connection is OK:{farm}",
    2107: "HMDS data farm connection is inactive but should be available upon demand.{farm}",
    2108: "Market data farm connection is inactive but should be available upon demand.{farm}",
    2110: "Connectivity between Trader Workstation and server is broken. It will be restored automatically.",
    2157: "Sec-def data farm connection is broken:{farm}",
    2158: "Sec-def data farm connection is OK:{farm}",
    10089: "Requested market data requires additional subscription for API.",
    10090: "Part of requested market data is not subscribed.",
    10167: "Requested market data is not subscribed. Displaying delayed market data.",
    10168: "Requested market data is not subscribed. Delayed market data is not enabled.",
    10186: "Requested market data is not subscribed. Delayed market data is not enabled.",
    10187: "Failed to request historical ticks:No market data permissions",
    10197: "No market data during competing live session",
    10314: "End Date/Time: The date, time, or time-zone entered is invalid. The correct format is yyyymmdd hh:mm:ss "
    "xx/xxxx, or yyyymmdd-hh:mm:ss for a time in UTC.",
    10339: "Setting end date/time for continuous future security type is not allowed.",
}

FARMS = {"usfarm": 2104, "ushmds": 2106, "secdefil": 2158}
"""What each farm says when all is well."""

FARM_DOWN = (2103, 2105, 2157)
FARM_OF = (
    dict.fromkeys((2103, 2104, 2108), "usfarm")
    | dict.fromkeys((2105, 2106, 2107), "ushmds")
    | dict.fromkeys((2157, 2158), "secdefil")
)
"""The farm that a notice is about if it is not told."""


class RefusedError(Exception):
    """A request that has no result."""

    def __init__(self, code, text=None):
        super().__init__(code)
        self.code = code
        self.text = text or TEXTS.get(code, f"Error {code}")


def invalid(cause):
    """What is told of a request that cannot be read."""
    return RefusedError(321, f"Error validating request.-'bN' : cause - {cause}")


def words_of(code, farm=None):
    """What a notice says."""
    return TEXTS.get(code, f"Notice {code}").format(farm=farm or FARM_OF.get(code))
