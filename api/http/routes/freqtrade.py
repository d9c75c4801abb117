"""freqtrade as a source of signals: its state, starting and stopping it."""

from collections.abc import Callable

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency

from api.http.commands import Commands
from api.http.errors import Problem
from api.http.requests import AnyRequest, system_of
from api.http.schemas import Answer
from api.runtime.freqtrade_listener import rest_of
from api.runtime.settings import FreqtradeSettings
from ledger.values import UtcTime
from signals.inbound.freqtrade.listener import FreqtradeListener
from signals.inbound.freqtrade.rest import FreqtradeRest, FreqtradeUnavailable


class FreqtradeAnswer(Answer):
    """A freqtrade bot and the state of the connection to it; its own fields are null while it does not respond.

    `counts` are of this run of the program: messages received, signals recorded, and messages ignored by reason.
    `problems` are sentences about what prevents signals.
    """

    name: str
    pairs: dict[str, str]
    connected: bool
    last_message_at: UtcTime | None
    counts: dict[str, int]
    state: str | None
    strategy: str | None
    strategy_version: str | None
    dry_run: bool | None
    exchange: str | None
    last_process_at: UtcTime | None
    problems: list[str]


class FreqtradeController(Controller):
    path = "/api/v1/freqtrade"
    tags = ("signals",)

    @get("/", operation_id="getFreqtrade", sync_to_thread=True)
    def get_freqtrade(self, request: AnyRequest) -> FreqtradeAnswer:
        """Current configuration of freqtrade, and the state of the connection to it."""
        return _state(request, _settings(request))

    @post("/start", operation_id="startFreqtrade", status_code=200, sync_to_thread=True)
    def start_freqtrade(
        self, request: AnyRequest, fixed_commands: NamedDependency[Commands]
    ) -> Response[FreqtradeAnswer]:
        """Starts the freqtrade bot."""
        return _switched(request, fixed_commands, FreqtradeRest.start)

    @post("/stop", operation_id="stopFreqtrade", status_code=200, sync_to_thread=True)
    def stop_freqtrade(
        self, request: AnyRequest, fixed_commands: NamedDependency[Commands]
    ) -> Response[FreqtradeAnswer]:
        """Stops the freqtrade bot: no more signals come from it."""
        return _switched(request, fixed_commands, FreqtradeRest.stop)


def _switched(
    request: AnyRequest, commands: Commands, switch: Callable[[FreqtradeRest], str]
) -> Response[FreqtradeAnswer]:
    settings = _settings(request)

    def act() -> None:
        try:
            with rest_of(settings) as rest:
                switch(rest)
        except FreqtradeUnavailable as unavailable:
            raise Problem(503, "freqtrade-unavailable", f"{unavailable}; nothing was done") from None

    return commands.driven().run(act, lambda _: _state(request, settings))


def _settings(request: AnyRequest) -> FreqtradeSettings:
    """Raises Problem 404 if no freqtrade is configured."""
    settings = system_of(request).settings.freqtrade
    if settings is None:
        raise Problem(404, "no-freqtrade", "no freqtrade is configured: add a table [freqtrade] to daybook.toml")
    return settings


def _state(request: AnyRequest, settings: FreqtradeSettings) -> FreqtradeAnswer:
    listener = request.app.state.freqtrade
    assert isinstance(listener, FreqtradeListener)
    listening = listener.listening
    problems = [listening.problem] if listening.problem else []
    shown = last_process_at = None
    try:
        with rest_of(settings) as rest:
            shown, last_process_at = rest.show_config(), rest.health()
        problems += shown.problems()
    except FreqtradeUnavailable as unavailable:
        problems = [str(unavailable)]
    return FreqtradeAnswer(
        name=settings.name,
        pairs=dict(settings.pairs),
        connected=listening.connected,
        last_message_at=listening.last_message_at,
        counts=dict(sorted((listening.counts or {}).items())),
        state=shown.state if shown else None,
        strategy=shown.strategy if shown else None,
        strategy_version=shown.strategy_version if shown else None,
        dry_run=shown.dry_run if shown else None,
        exchange=shown.exchange if shown else None,
        last_process_at=last_process_at,
        problems=problems,
    )
