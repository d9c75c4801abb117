"""What can go wrong with accounts at venues, apart from what loads their clients."""

from ledger.errors import DaybookError


class BadAccount(DaybookError):
    """An account cannot be added, used or removed; the sentence says why and what to do."""
