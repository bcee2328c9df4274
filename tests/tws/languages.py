"""What TWS says where it is not set to English; the codes are the same.

Each text that is marked as seen stands in a log or in a program on GitHub; the others are translated here. Whether what
the historical data service says after its colon is translated, no report tells: in German it is not here, in Chinese it
is. Users are told to have errors shown in English, a setting of TWS
(https://interactivebrokers.github.io/tws-api/error_handling.html).
"""

from types import MappingProxyType

from .codes import HMDS

GERMAN = (
    (
        "No security definition has been found for the request",
        "Es wurde keine Wertpapierdefinition zu der Anfrage gefunden",
    ),  # seen
    (
        "Part of requested market data is not subscribed.",
        "Sie haben einen Teil der angeforderten Marktdaten nicht abonniert.",
    ),  # seen
    (HMDS, "Fehlermeldung des Dienstes für historische Marktdaten:"),
    ("Requested market data is not subscribed.", "Die angeforderten Marktdaten sind nicht abonniert."),
    ("Error validating request.", "Fehler bei der Überprüfung der Anfrage."),
    (" is ambiguous", " ist mehrdeutig"),
    ("The contract description specified for", "Die Kontraktbeschreibung für"),
    ("Market data farm connection is broken", "Verbindung zur Marktdatenfarm unterbrochen"),
    ("Market data farm connection is OK", "Verbindung zur Marktdatenfarm OK"),
    ("HMDS data farm connection is broken", "Verbindung zur HMDS-Datenfarm unterbrochen"),
    ("HMDS data farm connection is OK", "Verbindung zur HMDS-Datenfarm OK"),
    ("Sec-def data farm connection is OK", "Verbindung zur Sec-def-Datenfarm OK"),
)

CHINESE = (
    ("No security definition has been found for the request", "未找到该请求的证券定义"),  # seen
    (
        "Requested market data is not subscribed. Displaying delayed market data.",
        "请求的市场数据没有订阅。显示延迟市场数据",
    ),  # seen
    ("HMDS data farm connection is broken", "历史市场数据场连接中断"),  # seen
    (
        "Market data farm connection is inactive but should be available upon demand.",
        "市场数据场连接暂未激活，但可按需提供。:",  # noqa: RUF001  # its own comma
    ),  # seen
    (HMDS, "历史市场数据服务错误信息:"),
    ("HMDS query returned no data", "HMDS查询没有返回数据"),
    ("No head time stamp", "没有起始时间戳"),
    ("Historical data request pacing violation", "历史数据请求违反频率限制"),
    ("API historical data query cancelled", "API历史数据查询已取消"),
    ("No historical market data for", "没有历史市场数据:"),
    ("No market data permissions for", "没有市场数据权限:"),
    ("Requested market data is not subscribed.", "请求的市场数据没有订阅。"),
    ("Error validating request.", "验证请求时出错。"),
    ("HMDS data farm connection is OK", "历史市场数据场连接正常"),
    ("Market data farm connection is broken", "市场数据场连接中断"),
    ("Market data farm connection is OK", "市场数据场连接正常"),
    ("No market data during competing live session", "竞争的实时会话期间没有市场数据"),
)

LANGUAGES = MappingProxyType({"german": GERMAN, "chinese": CHINESE})


def said(text, behaviours):
    """A text in the language that is switched on."""
    for language, phrases in LANGUAGES.items():
        if language in behaviours:
            for english, foreign in phrases:
                text = text.replace(english, foreign)
    return text
