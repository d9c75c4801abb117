"""A way to the database that is cut at a COMMIT: before it, right after it, or before its answer comes back."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Final, Literal

from sqlalchemy import make_url

Cut = Literal["before", "right after", "before the answer"]
CUTS: Final[tuple[Cut, ...]] = ("before", "right after", "before the answer")
COMMIT: Final = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The message as the driver sends it: a simple query of this text."""


class CommitCutter:
    """Listens on 127.0.0.1 for connections to the server at that socket. `plan` says at which COMMIT from now to cut."""

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
        """The COMMIT after so many others is cut."""
        self._cut, self._after = cut, after

    @property
    def planned(self) -> bool:
        """Whether the cut is still to come."""
        return self._cut is not None

    def close(self) -> None:
        """For when every client has gone."""
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
            answering = Thread(target=_answer, args=(server, client, silenced), daemon=True)
            answering.start()
            if self._ask(client, server, silenced) != "before the answer":
                _end(client, server)  # else the answer ends it
            answering.join()

    def _ask(self, client: socket.socket, server: socket.socket, silenced: Event) -> Cut | None:
        """What the client says goes to the server, up to the COMMIT that is cut; returns how it was."""
        with suppress(OSError):
            while said := client.recv(1 << 16):
                cut = self._cut_now() if COMMIT in said else None
                if cut is not None:
                    silenced.set()
                if cut != "before":
                    server.sendall(said)
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


def _answer(server: socket.socket, client: socket.socket, silenced: Event) -> None:
    """What the server says goes to the client, unless it has been silenced."""
    with suppress(OSError):
        while (said := server.recv(1 << 16)) and not silenced.is_set():
            client.sendall(said)
    _end(server, client)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutter(database_url: str) -> Iterator[tuple[CommitCutter, str]]:
    """A cutter in front of the database, and the URL that goes through it."""
    url = make_url(database_url)
    running = CommitCutter(f"{url.query['host']}/.s.PGSQL.5432")
    try:
        through = url.set(host="127.0.0.1", port=running.port, query={"sslmode": "disable"})
        yield running, through.render_as_string(hide_password=False)
    finally:
        running.close()
