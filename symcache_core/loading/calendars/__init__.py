"""When an instrument trades: which bars there should be, and of which bar a provider's row is."""

from .calendar import Calendar
from .choosing import calendar_of
from .slots import Slots

__all__ = ["Calendar", "Slots", "calendar_of"]
