"""Which errors does Daybook raise on purpose? Each has `DaybookError` as its base, so one `except` catches them all.

    DaybookError
      log          Conflict (PositionConflict), NoSuchPortfolio, UnknownEvent, BadEvent, BrokenLog, BadCheckpoint
      booking      UnvaluedLeg, NothingToReverse, BadChoice
      entries      CannotRecord and a subclass for each rule of `ledger.entries`, `signals.inbound`, `execution.exits`
      database     DatabaseUnavailable, NewerSchema, NotLeader, WorkersLost
      files        BadFile, BadRow, WrongPortfolio, NoParquet, CannotExport
      bots         UnknownBotKind, BadParameters, BotUnusable, BotRaised, BadBot
      markets      BadFeed, BadCandle, FeedUnavailable, FreqtradeUnavailable, BadFrame
      trading      WrongSignal, WrongOrder, TradeRejected
      exchanges    BadEndpoint, OddAnswer, UndeclaredVenue, VenueUnavailable
      interfaces   the errors of settings, keys, webhooks, backtests and HTTP in `api`
      migration    the errors of `migrations/legacy`

Exceptions that never leave the few modules that use them as control flow have no place in this tree.
"""


class DaybookError(Exception):
    """An expected failure. Its text states the problem and, where there is one, the remedy."""


class CannotRecord(DaybookError):
    """A request that the portfolio's rules do not allow. Nothing was recorded.

    `kind` is a stable name of the rule, `extras` are its facts for programs.
    """

    kind: str

    def __init__(self, detail: str, **extras: object) -> None:
        super().__init__(detail)
        self.extras = extras
