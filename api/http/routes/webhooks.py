"""Webhooks: signals from services that can send a message and nothing else."""

from typing import Annotated

from litestar import Controller, post
from litestar.params import FromPath, HeaderParameter, RawBody

from api.http.reading import AnyRequest, only_parameters, system_of
from api.http.routes.signals import stored_signal
from api.http.schemas import SignalAnswer
from api.http.webhooks import Webhooks
from api.runtime.emitting import emit, outside_signal
from signals.runner import signal_id

Timestamp = Annotated[str | None, HeaderParameter(name="X-Daybook-Timestamp", required=False)]
Signature = Annotated[str | None, HeaderParameter(name="X-Daybook-Signature", required=False)]


class WebhookController(Controller):
    path = "/api/v1/webhooks"
    tags = ("signals",)

    @post(
        "/{name:str}",
        operation_id="receiveWebhook",
        status_code=201,
        sync_to_thread=True,
        security=[{"webhook": []}],
    )
    def receive_webhook(
        self,
        request: AnyRequest,
        name: FromPath[str],
        body: RawBody,
        timestamp: Timestamp = None,
        signature: Signature = None,
    ) -> SignalAnswer:
        """Records the signal that a signed message says, and has it reviewed like any bot's opinion.

        The signature is HMAC-SHA-256 over timestamp, a dot and the raw body; a message is taken once, within 300 seconds.
        """
        only_parameters(request)
        system = system_of(request)
        webhooks = request.app.state.webhooks
        assert isinstance(webhooks, Webhooks)
        message = webhooks.believed(name, timestamp, signature, body)
        source = f"webhook:{name}"
        named = source if message.signal.source is None else f"{source}/{message.signal.source}"
        signal = outside_signal(system, named, message.signal)
        emit(system, signal, source, lambda connection: webhooks.claim(connection, message))
        return stored_signal(system, signal_id(signal))
