"""The HTTP transport below a venue's client: allowed hosts, one request per order, back-off, and local endpoints.

With an endpoint on this machine in place of the venue, the client's URLs, signatures and error handling are the same
as in production.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidURL

from ledger.errors import DaybookError
from ledger.values import Clock

_ENDPOINT: Final = re.compile(r"http://(127\.0\.0\.1|localhost):\d{1,5}/?", re.ASCII)


class NotSent(InvalidURL):
    """A request that must not be sent, and was not."""


class BadEndpoint(DaybookError, ValueError):
    """An address that cannot replace a venue's."""


class Wire(HTTPAdapter):
    """Sends requests without retries. `sent` counts them; `status` is that of the last response, None without one.

    Only requests to `hosts` are sent, and inside `one_request` only one. With an `endpoint` such as
    http://127.0.0.1:8801 requests go there instead. Raises BadEndpoint for an endpoint on another machine.
    """

    def __init__(self, hosts: Collection[str], clock: Clock, endpoint: str | None = None) -> None:
        if endpoint is not None and not _ENDPOINT.fullmatch(endpoint):
            raise BadEndpoint(f"{endpoint[:80]!r} is not a local address such as http://127.0.0.1:8801")
        super().__init__(max_retries=0)
        self.sent = 0
        self.status: int | None = None
        self.quiet_until: datetime | None = None
        self._hosts, self._clock = frozenset(hosts), clock
        self._endpoint = urlsplit(endpoint) if endpoint else None
        self._last_allowed: int | None = None

    @contextmanager
    def one_request(self) -> Iterator[None]:
        """Allow one request while the context is open, whatever the client's settings."""
        self._last_allowed = self.sent + 1
        try:
            yield
        finally:
            self._last_allowed = None

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float | None, float | None] | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: dict[str, str] | None = None,
    ) -> Response:
        """Send a request and return the response. Raises NotSent when nothing was sent."""
        address = urlsplit(request.url or "")
        if address.hostname not in self._hosts:
            raise NotSent(f"{address.hostname} is not a host of this venue")
        if self._last_allowed is not None and self.sent >= self._last_allowed:
            raise NotSent("an order is sent only once")
        if self._endpoint is not None:
            request.url = urlunsplit((self._endpoint.scheme, self._endpoint.netloc, address.path, address.query, ""))
        self.sent, self.status = self.sent + 1, None
        response = super().send(request, stream, timeout, verify, cert, proxies)
        self.status = response.status_code
        self._back_off(response)
        return response

    def _back_off(self, response: Response) -> None:
        """Remember until when the venue allows no requests."""
        seconds = response.headers.get("Retry-After", "")
        if response.status_code in (418, 429) and re.fullmatch(r"\d{1,7}", seconds, re.ASCII):
            self.quiet_until = self._clock() + timedelta(seconds=int(seconds))
