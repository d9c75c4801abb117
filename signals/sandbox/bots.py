"""Enabled bots of other packages behind the `Bot` interface; every call goes to the bot's own process."""

import base64
import json
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, Final, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator

from ledger.events.fields import Name
from ledger.log.envelope import canonical_json
from ledger.projections.bots import EnabledBotKind
from ledger.rows import Rows
from signals.bot import Bot, Needs, Parameters, Signal, Window, first_fault
from signals.sandbox.discovery import BotCode, BotUnusable, InstalledBot, installed_bot
from signals.sandbox.process import BotProcess, Limits

MOST_BARS: Final = 100_000
"""The longest window of a bot in another process, which crosses the pipe at every candle."""


class ForeignBots:
    """The bots of the enabled kinds, one process each, which runs only while its files are those that were enabled.

    `at_first` is called once, before the first of them is created.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        installed: Callable[[str], InstalledBot] = installed_bot,
        at_first: Callable[[], None] = lambda: None,
    ) -> None:
        self._limits = limits or Limits()
        self._installed = installed
        self._at_first: Callable[[], None] | None = at_first
        self._gate = threading.Lock()
        self._bots: dict[str, tuple[str, ForeignBot]] = {}

    def enabled(self, rows: Rows) -> Mapping[str, Bot]:
        """Return a bot for each enabled kind, and end the processes of other code.

        Starts and checks nothing: a faulty bot raises BotUnusable when it is first used.
        """
        wanted = {row.kind: row for row in rows.where(EnabledBotKind)}
        with self._gate:
            for kind in [kind for kind, (sha256, _) in self._bots.items() if _sha256(wanted.get(kind)) != sha256]:
                self._bots.pop(kind)[1].close()
            if wanted and self._at_first is not None:
                self._at_first()
                self._at_first = None
            for kind, row in wanted.items():
                if kind not in self._bots:
                    self._bots[kind] = (row.sha256, ForeignBot(kind, self._finder(row), self._limits))
            return {kind: bot.as_bot() for kind, (_, bot) in self._bots.items()}

    def close(self) -> None:
        """End every process."""
        with self._gate:
            for _, bot in self._bots.values():
                bot.close()
            self._bots.clear()

    def _finder(self, row: EnabledBotKind) -> Callable[[], BotCode]:
        def find() -> BotCode:
            found = self._installed(row.kind)
            code = found.code
            if code.sha256() != row.sha256:
                raise BotUnusable(
                    f"the files of {found.distribution} {found.distribution_version} are not those of"
                    f" {row.distribution} {row.distribution_version} that were enabled: review the change,"
                    f" then run daybook bot enable {row.kind}"
                )
            return code

        return find


class ForeignBot:
    """A bot in another process, with the interface of `signals.bot.Bot`. Every use may raise BotUnusable or BotRaised."""

    def __init__(self, kind: str, find: Callable[[], BotCode], limits: Limits) -> None:
        self.kind = kind
        self._process = BotProcess(find, limits)
        self._needs: dict[str, Needs] = {}

    def as_bot(self) -> Bot:
        """Return itself: `Bot` declares kind, version and Params on the class; here each object has its own."""
        return cast(Bot, self)

    @property
    def version(self) -> str:
        try:
            return _NAME.validate_python(self._described()["version"])
        except ValidationError as error:
            raise BotUnusable(f"its version is invalid: {first_fault(error)}") from None

    @property
    def scale_free(self) -> bool:
        return bool(self._described()["scale_free"])

    @cached_property
    def Params(self) -> type[Parameters]:  # noqa: N802 - the name in the protocol
        """Parameters that the bot's own process validates and completes."""
        request, described = self._process.request, self._described

        class ForeignParameters(Parameters):
            model_config = ConfigDict(extra="allow")

            @model_validator(mode="before")
            @classmethod
            def _completed(cls, params: Any) -> Any:
                answer = request("complete", params=params)
                if "refused" in answer:
                    raise ValueError(str(answer["refused"])[:500])
                return answer.get("params")

            @classmethod
            def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
                return dict(described()["schema"])

        return ForeignParameters

    def needs(self, params: Parameters) -> Needs:
        known = canonical_json(params.model_dump(mode="json"))
        if known not in self._needs:
            bars = self._process.request("needs", params=json.loads(known)).get("bars")
            if type(bars) is not int or not 1 <= bars <= MOST_BARS:
                raise BotUnusable(f"it needs {str(bars)[:40]} bars (allowed: 1 to {MOST_BARS:,})")
            self._needs[known] = Needs(bars)
        return self._needs[known]

    def evaluate(self, window: Window, params: Parameters) -> Signal | None:
        answer = self._process.request(
            "evaluate",
            instrument=window.instrument,
            timeframe=window.timeframe // timedelta(microseconds=1),
            asof=window.asof.isoformat(),
            bars=base64.b64encode(window.bars.tobytes()).decode(),
            params=params.model_dump(mode="json"),
        )
        if "signal" not in answer:
            raise BotUnusable("its answer has no field signal")
        if answer["signal"] is None:
            return None
        try:
            return Signal.model_validate_json(json.dumps(answer["signal"]))
        except ValidationError as error:
            raise BotUnusable(f"its signal is invalid: {first_fault(error)}") from None

    def close(self) -> None:
        self._process.close()

    def _described(self) -> dict[str, Any]:
        """The bot's description. Raises BotUnusable when it is incomplete or of another kind."""
        found = self._process.describe()
        if found.get("kind") != self.kind:
            raise BotUnusable(f"its kind is {str(found.get('kind'))[:40]!r}, not {self.kind!r}")
        if not isinstance(found.get("schema"), dict) or "version" not in found or "scale_free" not in found:
            raise BotUnusable("its description is incomplete")
        return found


def _sha256(row: EnabledBotKind | None) -> str | None:
    return row.sha256 if row else None


_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)
