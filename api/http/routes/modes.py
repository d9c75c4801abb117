"""Modes: whether a bot's signals trade automatically, need approval, or are ignored."""

from litestar import Controller, Response, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.http.commands import Commands
from api.http.errors import Problem
from api.http.requests import Snapshot
from api.http.schemas import Answer, Request
from ledger.events import BotModeSet
from ledger.events.bots import BotMode
from ledger.events.fields import Name
from ledger.log.envelope import NewEvent
from ledger.postgres.book import StoredReading
from ledger.projections.bots import BotView, Mode
from ledger.values import UtcTime


class NewMode(Request):
    """The mode of a bot, or of an external source under the name that its signals carry."""

    bot_id: Name
    mode: BotMode


class ModeAnswer(Answer):
    bot_id: str
    mode: BotMode
    set_at: UtcTime


class ModeController(Controller):
    path = "/api/v1/modes"
    tags = ("review",)

    @get("/", operation_id="listModes", sync_to_thread=True)
    def list_modes(self, snapshot: NamedDependency[Snapshot]) -> list[ModeAnswer]:
        """Modes that were set; all other bots are automatic."""
        with snapshot.reading() as reading:
            return [ModeAnswer.model_validate(one) for one in reading.rows.where(Mode)]

    @put("/", operation_id="setMode", status_code=200, sync_to_thread=True)
    def set_mode(self, commands: NamedDependency[Commands], data: JSONBody[NewMode]) -> Response[ModeAnswer]:
        """Sets whether the bot's signals trade automatically, need approval, or are ignored.

        Also applies to signals that await approval. A name with a colon is an external source.
        """
        command = commands.existing(data)

        def decide(reading: StoredReading) -> list[NewEvent]:
            if ":" not in data.bot_id and reading.rows.get(BotView, data.bot_id) is None:
                raise Problem(404, "unknown-bot", f"there is no bot called {data.bot_id}")
            return [command.event(BotModeSet(bot_id=data.bot_id, mode=data.mode))]

        return command.record(decide, lambda reading: ModeAnswer.model_validate(reading.rows.get(Mode, data.bot_id)))
