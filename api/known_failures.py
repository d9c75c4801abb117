"""What is known to go wrong in commands: each says itself, in one sentence, what and where and what to do."""

from typing import Final

from api.account_failures import BadAccount
from api.backtest_failures import BadBacktest, NoCharts
from api.keys import BadKey
from api.proofs import BadTarget
from api.settings import BadSettings
from api.views_behind import ViewsBehind
from api.webhooks import BadWebhook
from ledger.beancount_export import CannotExport
from ledger.chain import BrokenLog
from ledger.checkpoints import BadCheckpoint
from ledger.database import DATABASE_GONE, NewerSchema
from ledger.embedded_postgres import DatabaseUnavailable
from ledger.files import BadFile
from ledger.importing import WrongPortfolio
from ledger.leaders import NotLeader
from ledger.log import NoSuchPortfolio
from ledger.parquet_export import NoParquet
from ledger.projections.reversals import NothingToReverse
from ledger.what_if import BadChoice
from migrations.legacy.decisions import BadDecisions
from migrations.legacy.source import BadSource
from signals.bot_package import BadBot
from signals.bot_process import BotRaised
from signals.freqtrade_rest import FreqtradeUnavailable
from signals.installed import BotUnusable
from signals.market import BadCandle, BadFeed, FeedUnavailable

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
