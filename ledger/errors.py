"""The base of every error that Daybook raises on purpose. Catch `DaybookError` to catch them all.

    DaybookError
      the log        Conflict > PositionConflict · NoSuchPortfolio · UnknownEvent · BadEvent · BrokenLog · BadCheckpoint
      booking      UnvaluedLeg · NothingToReverse · BadChoice
      database     DatabaseUnavailable · NewerSchema · NotLeader · WorkersLost
      files        BadFile · BadRow · WrongPortfolio · NoParquet · CannotExport
      bots         UnknownBotKind · BadParameters · BotUnusable · BotRaised · BadBot
      markets      BadFeed · BadCandle · FeedUnavailable · FreqtradeUnavailable · BadFrame
      trading      WrongSignal · WrongOrder · TradeRejected
      exchanges    BadEndpoint · OddAnswer · UndeclaredVenue · VenueUnavailable
      interfaces   Problem and the errors of commands in `api`
      moving in    the errors of `migrations/legacy`

Errors that never leave the module group that raises them (a fast path that gives up, a simulated venue's refusal)
are not part of this tree. Nor is anything that third-party libraries raise.
"""


class DaybookError(Exception):
    """An expected failure. Its text names the problem and, where there is one, the way out."""
