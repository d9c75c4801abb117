"""Who trades a portfolio, in the database: the epoch counts the holders, and the newest one is the leader."""

from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.postgres import Raw

LOCK_CLASS: Final = 73053


class NotLeader(Exception):
    """Another trader has taken the portfolio over, or trades it now: this one must neither store nor send."""


def claim(connection: Raw, portfolio_id: UUID, holder: str, at: datetime) -> int:
    """The holder leads from now on; returns its epoch. Waits for recordings of the leader before to end."""
    row = connection.execute(
        "insert into leaders (portfolio_id, epoch, holder, since) values (%s, 1, %s, %s)"
        " on conflict (portfolio_id) do update"
        " set epoch = leaders.epoch + 1, holder = excluded.holder, since = excluded.since returning epoch",
        (portfolio_id, holder, at),
    ).fetchone()
    assert row is not None
    return int(row[0])


def confirm(connection: Raw, portfolio_id: UUID, epoch: int, *, until_commit: bool = False) -> None:
    """The epoch is the newest; with `until_commit` it stays so until the transaction ends. Raises NotLeader."""
    asked = "select epoch, holder, since from leaders where portfolio_id = %s"
    row = connection.execute(asked + " for share" if until_commit else asked, (portfolio_id,)).fetchone()
    if row is None or row[0] != epoch:
        taken = "nobody leads it" if row is None else f"{row[1]} took it over at {row[2]:%Y-%m-%d %H:%M:%S} UTC"
        raise NotLeader(f"this Daybook no longer trades portfolio {portfolio_id}: {taken}")


def hold(connection: Raw, portfolio_id: UUID) -> bool:
    """Whether this session holds the portfolio's lock, which one session at a time can hold; it does until it ends."""
    row = connection.execute(
        "select pg_try_advisory_lock(%s, hashtext(%s))", (LOCK_CLASS, str(portfolio_id))
    ).fetchone()
    return row is not None and bool(row[0])
