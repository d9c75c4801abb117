"""Reasons not to record an inbound signal."""

from ledger.errors import CannotRecord


class UnknownProduct(CannotRecord):
    """The instrument is not traded in this market."""

    kind = "unknown-product"


class NoPrice(CannotRecord):
    """The instrument has no recorded price yet."""

    kind = "no-price"


class StaleSignal(CannotRecord):
    """The signal is older than the policy or its own horizon allows."""

    kind = "stale-signal"


class FutureSignal(CannotRecord):
    """The signal is dated ahead of the market."""

    kind = "future-signal"


class SignalDiffers(CannotRecord):
    """A signal with the same bot, instrument and time but other content is recorded already."""

    kind = "signal-differs"
