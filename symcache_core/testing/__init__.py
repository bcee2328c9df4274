"""The contract suites: subclass one, name a backend, give its settings, and know whether it is right."""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

from .backend_contract import BackendContract  # noqa: E402  # after the asserts are registered to explain themselves
from .proxy import TcpProxy  # noqa: E402  # likewise
from .symbol_cache_contract import SymbolCacheContract  # noqa: E402  # likewise

__all__ = ["BackendContract", "SymbolCacheContract", "TcpProxy"]
