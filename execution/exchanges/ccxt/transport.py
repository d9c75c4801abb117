"""The wire below a venue's client: where its requests go, how many, and what came back.

The client thinks that it talks to the venue: URLs, signatures and error tables stay as they are in production, also
when an endpoint on this machine stands in for the venue.
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
    """A request that was not sent, because it must not be."""


class BadEndpoint(DaybookError, ValueError):
    """An address that cannot stand in for a venue; the text says why."""


class Wire(HTTPAdapter):
    """Sends requests, never one twice. `sent` counts them, `status` is that of the last answer, None without one.

    A request to a host that is not in `hosts` is not sent, and none after a first one inside `one_request`. With an
    `endpoint` such as http://127.0.0.1:8801, requests go there instead. Raises BadEndpoint for an endpoint elsewhere.
    """

    def __init__(self, hosts: Collection[str], clock: Clock, endpoint: str | None = None) -> None:
        if endpoint is not None and not _ENDPOINT.fullmatch(endpoint):
            raise BadEndpoint(f"{endpoint[:80]!r} is not an address on this machine such as http://127.0.0.1:8801")
        super().__init__(max_retries=0)
        self.sent = 0
        self.status: int | None = None
        self.quiet_until: datetime | None = None
        self._hosts, self._clock = frozenset(hosts), clock
        self._endpoint = urlsplit(endpoint) if endpoint else None
        self._last_allowed: int | None = None

    @contextmanager
    def one_request(self) -> Iterator[None]:
        """Inside, one request may be sent, whatever the client is set to."""
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
        """The answer of the venue. Raises NotSent when nothing was sent."""
        address = urlsplit(request.url or "")
        if address.hostname not in self._hosts:
            raise NotSent(f"{address.hostname} is no host of this venue")
        if self._last_allowed is not None and self.sent >= self._last_allowed:
            raise NotSent("an order is sent once")
        if self._endpoint is not None:
            request.url = urlunsplit((self._endpoint.scheme, self._endpoint.netloc, address.path, address.query, ""))
        self.sent, self.status = self.sent + 1, None
        response = super().send(request, stream, timeout, verify, cert, proxies)
        self.status = response.status_code
        self._heed(response)
        return response

    def _heed(self, response: Response) -> None:
        """A venue that asks for quiet is left alone until then."""
        seconds = response.headers.get("Retry-After", "")
        if response.status_code in (418, 429) and re.fullmatch(r"\d{1,7}", seconds, re.ASCII):
            self.quiet_until = self._clock() + timedelta(seconds=int(seconds))
