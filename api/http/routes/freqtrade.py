"""freqtrade as a source of signals: how it is, and turning it on and off."""

from collections.abc import Callable

from litestar import Controller, Response, get, post

from api.http.commands import IdempotencyKey, Running
from api.http.errors import Problem
from api.http.reading import AnyRequest, commands_of, only_parameters, system_of
from api.runtime.listening import rest_of
from api.runtime.settings import FreqtradeSettings
from api.runtime.signal_schemas import FreqtradeAnswer
from signals.inbound.freqtrade_listener import FreqtradeListener
from signals.inbound.freqtrade_rest import FreqtradeRest, FreqtradeUnavailable


class FreqtradeController(Controller):
    path = "/api/v1/freqtrade"
    tags = ("signals",)

    @get("/", operation_id="getFreqtrade", sync_to_thread=True)
    def get_freqtrade(self, request: AnyRequest) -> FreqtradeAnswer:
        """What freqtrade runs, asked just now, and how listening to it goes."""
        only_parameters(request)
        return _state(request, _settings(request))

    @post("/start", operation_id="startFreqtrade", status_code=200, sync_to_thread=True)
    def start_freqtrade(self, request: AnyRequest, idempotency_key: IdempotencyKey = None) -> Response[FreqtradeAnswer]:
        """Has freqtrade run, and so analyse."""
        return _told(request, idempotency_key, "start", FreqtradeRest.start)

    @post("/stop", operation_id="stopFreqtrade", status_code=200, sync_to_thread=True)
    def stop_freqtrade(self, request: AnyRequest, idempotency_key: IdempotencyKey = None) -> Response[FreqtradeAnswer]:
        """Has freqtrade stand still: it analyses nothing any more, and no signals come from it."""
        return _told(request, idempotency_key, "stop", FreqtradeRest.stop)


def _told(
    request: AnyRequest, key: str | None, what: str, tell: Callable[[FreqtradeRest], str]
) -> Response[FreqtradeAnswer]:
    only_parameters(request)
    system, settings = system_of(request), _settings(request)

    def act(_running: Running) -> None:
        try:
            with rest_of(settings) as rest:
                tell(rest)
        except FreqtradeUnavailable as unavailable:
            raise Problem(503, "freqtrade-unavailable", f"{unavailable}; nothing was done") from None

    def answer(_running: Running) -> FreqtradeAnswer:
        return _state(request, settings)

    command = (f"POST /freqtrade/{what}", None)
    return commands_of(request).run(system.portfolio_id, key, command, act, answer)


def _settings(request: AnyRequest) -> FreqtradeSettings:
    """Raises Problem 404 where no freqtrade is configured."""
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
