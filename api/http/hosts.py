"""Accepted Host headers: this machine's names only, against DNS rebinding by pages from elsewhere."""

from typing import Final

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from api.http.errors import Problem

LOCAL_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")


class LocalHostsOnly(ASGIMiddleware):
    """Middleware. Raises Problem 421 for a Host header that does not name this machine."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or _name(hosts[0]).lower() not in LOCAL_NAMES:
            raise Problem(421, "wrong-host", f"the Host header must be one of {', '.join(LOCAL_NAMES)}")
        await next_app(scope, receive, send)


def _name(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isascii() and port.isdigit() else host
