"""The failure of a portfolio whose views stopped; in a file of its own, so that the command line knows it without loading rooms."""

from ledger.errors import DaybookError


class ViewsBehind(DaybookError):
    """A portfolio's rows do not reach the end of its log, so no figure of theirs can be trusted."""
