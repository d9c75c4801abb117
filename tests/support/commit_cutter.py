"""A proxy to the database that disconnects at a COMMIT: before it, right after it, or before its response."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Final, Literal

from sqlalchemy import make_url

Cut = Literal["before", "right after", "before the response"]
CUTS: Final[tuple[Cut, ...]] = ("before", "right after", "before the response")
COMMIT: Final = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The driver's message: a simple query with this text."""


class CommitCutter:
    """Listens on 127.0.0.1 and connects to the server's socket. `plan` chooses the COMMIT at which to disconnect."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._cut: Cut | None = None
        self._after = 0
        self.commits = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def plan(self, cut: Cut, after: int = 0) -> None:
        """Disconnect at a COMMIT, after this many others."""
        self._cut, self._after = cut, after

    @property
    def planned(self) -> bool:
        """True until the planned disconnect."""
        return self._cut is not None

    def close(self) -> None:
        """Stop listening, once all clients are gone."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            thread = Thread(target=self._serve, args=(client,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.connect(self._server)
            silenced = Event()
            responding = Thread(target=_respond, args=(server, client, silenced), daemon=True)
            responding.start()
            if self._forward(client, server, silenced) != "before the response":
                _end(client, server)  # otherwise the response ends it
            responding.join()

    def _forward(self, client: socket.socket, server: socket.socket, silenced: Event) -> Cut | None:
        """Forward the client's messages up to the planned COMMIT; return the kind of disconnect."""
        with suppress(OSError):
            while message := client.recv(1 << 16):
                cut = self._cut_now() if COMMIT in message else None
                if cut is not None:
                    silenced.set()
                if cut != "before":
                    server.sendall(message)
                if cut is not None:
                    return cut
        return None

    def _cut_now(self) -> Cut | None:
        self.commits += 1
        if self._cut is None or self._after > 0:
            self._after -= 1
            return None
        cut, self._cut = self._cut, None
        return cut


def _respond(server: socket.socket, client: socket.socket, silenced: Event) -> None:
    """Forward the server's messages to the client until silenced."""
    with suppress(OSError):
        while (message := server.recv(1 << 16)) and not silenced.is_set():
            client.sendall(message)
    _end(server, client)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutter(database_url: str) -> Iterator[tuple[CommitCutter, str]]:
    """Yield a proxy to the database and its URL."""
    url = make_url(database_url)
    running = CommitCutter(f"{url.query['host']}/.s.PGSQL.5432")
    try:
        through = url.set(host="127.0.0.1", port=running.port, query={"sslmode": "disable"})
        yield running, through.render_as_string(hide_password=False)
    finally:
        running.close()
