"""Which errors does Daybook raise on purpose? Each has `DaybookError` as its base, so one `except` catches them all.

    DaybookError
      log          Conflict (PositionConflict), NoSuchPortfolio, UnknownEvent, BadEvent, BrokenLog, BadCheckpoint
      booking      UnvaluedLeg, NothingToReverse, BadChoice
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
