"""What can be wrong with a backtest that is asked for. Apart from the rest, so that the command line starts quickly."""

from ledger.errors import DaybookError


class BadBacktest(DaybookError, ValueError):
    """The backtest cannot be run as it is asked for; the text says why and what to do."""


class RefusedParameters(BadBacktest):
    """A bot does not take the parameters it was given."""


class NoCharts(DaybookError):
    """No picture can be drawn; the text says why and what to do."""
