"""What is known to go wrong in commands: each says itself, in one sentence, what and where and what to do."""

from typing import Final

from api.backtest.failures import BadBacktest, NoCharts
from api.http.webhooks import BadWebhook
from api.runtime.account_failures import BadAccount
from api.runtime.keys import BadKey
from api.runtime.proofs import BadTarget
from api.runtime.settings import BadSettings
from api.runtime.views_behind import ViewsBehind
from ledger.exports.beancount import CannotExport
from ledger.exports.parquet import NoParquet
from ledger.imports.files import BadFile
from ledger.imports.run import WrongPortfolio
from ledger.log.checkpoints import BadCheckpoint
from ledger.log.event_log import NoSuchPortfolio
from ledger.log.hash_chain import BrokenLog
from ledger.postgres.database import DATABASE_GONE, NewerSchema
from ledger.postgres.embedded import DatabaseUnavailable
from ledger.postgres.leadership import NotLeader
from ledger.projections.reversals import NothingToReverse
from ledger.reports.lot_methods import BadChoice
from migrations.legacy.read.source import BadSource
from migrations.legacy.translate.decisions import BadDecisions
from signals.inbound.freqtrade_rest import FreqtradeUnavailable
from signals.market import BadCandle, BadFeed, FeedUnavailable
from signals.sandbox.discovery import BotUnusable
from signals.sandbox.process import BotRaised
from signals.testkit.scaffold import BadBot

__all__ = ["DATABASE_GONE", "FAILURES"]

FAILURES: Final = (
    BadSettings,
    BadAccount,
    BadKey,
    BadWebhook,
    FreqtradeUnavailable,
    BadTarget,
    DatabaseUnavailable,
    NewerSchema,
    BrokenLog,
    NoSuchPortfolio,
    NotLeader,
    BadFile,
    BadChoice,
    NothingToReverse,
    WrongPortfolio,
    BadCheckpoint,
    CannotExport,
    NoParquet,
    ViewsBehind,
    BadFeed,
    BadCandle,
    FeedUnavailable,
    BadBot,
    BotUnusable,
    BotRaised,
    BadBacktest,
    NoCharts,
    BadSource,
    BadDecisions,
)
