"""Only requests that name this machine are answered: a page elsewhere cannot reach us through a name of its own."""

from typing import Final

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from api.http.errors import Problem

LOCAL_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")


class LocalHostsOnly(ASGIMiddleware):
    """Raises Problem 421 for a Host header with another name than this machine's own (DNS rebinding)."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or _name(hosts[0]).lower() not in LOCAL_NAMES:
            raise Problem(421, "wrong-host", f"call this server as one of {', '.join(LOCAL_NAMES)}")
        await next_app(scope, receive, send)


def _name(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isascii() and port.isdigit() else host
