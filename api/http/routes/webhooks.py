"""Webhooks: signed messages that become signals."""

from typing import Annotated

from litestar import Controller, post
from litestar.params import FromPath, HeaderParameter, RawBody

from api.http.requests import AnyRequest, known_parameters, system_of
from api.http.routes.signals import SignalAnswer, external_signal, signal_answer
from api.http.webhooks import Webhooks
from api.runtime.inbound_signals import emit
from signals.runner import signal_id

Timestamp = Annotated[str | None, HeaderParameter(name="X-Daybook-Timestamp", required=False)]
Signature = Annotated[str | None, HeaderParameter(name="X-Daybook-Signature", required=False)]


class WebhookController(Controller):
    path = "/api/v1/webhooks"
    guards = (known_parameters,)
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
        """Records the signal of a signed message and has it reviewed like any bot's signal.

        The signature is HMAC-SHA-256 over timestamp, a dot and the raw body. Each message is accepted once, within 300 s.
        """
        system = system_of(request)
        webhooks = request.app.state.webhooks
        assert isinstance(webhooks, Webhooks)
        message = webhooks.authenticated(name, timestamp, signature, body)
        signal = external_signal(system, f"webhook:{name}", message.signal)
        emit(system, signal, f"webhook:{name}", lambda connection: webhooks.claim(connection, message))
        with system.book.reading(system.portfolio_id) as reading:
            return signal_answer(reading, signal_id(signal))
