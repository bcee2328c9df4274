"""Data providers: where verdicts and bars come from."""

from .ib_data_adapter import IbDataAdapter

__all__ = ["IbDataAdapter"]
