"""Message formats that webhooks accept."""

from typing import Final

TEMPLATES: Final = ("signal", "tradingview")
