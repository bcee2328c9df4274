"""The contract suites: subclass one, name a backend, give its settings, and know whether it is right."""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "backend_capabilities",
            "backend_entries",
            "backend_opening",
            "backend_sharing",
            "cache_answers",
            "cache_bench",
            "cache_lookups",
            "cache_provider",
            "cache_storage",
            "neighbour",
        )
    )
)

from .backend_contract import BackendContract  # noqa: E402  # after the asserts are registered to explain themselves
from .symbol_cache_contract import SymbolCacheContract  # noqa: E402  # likewise

__all__ = ["BackendContract", "SymbolCacheContract"]
