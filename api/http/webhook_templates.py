"""The shapes of message that webhooks take."""

from typing import Final

TEMPLATES: Final = ("signal", "tradingview")
