"""`daybook checkpoint` and `daybook export events`: what a proof needs, in files of the owner's."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import UUID

from api.cli.replaying import named_portfolios
from api.runtime.settings import BadSettings, Settings, usable_folder
from ledger.errors import DaybookError
from ledger.log.checkpoints import checkpoint_text, make_checkpoint, signing_key
from ledger.log.envelope import Envelope, canonical_json
from ledger.postgres.database import open_database
from ledger.postgres.log import PostgresLog
from ledger.replay.verify import all_portfolios, heads
from ledger.values import system_clock, time_text


def write_checkpoint_file(settings: Settings, path: Path) -> str:
    """A signed checkpoint of all logs is in the file; says so in one sentence. Raises BadCheckpoint."""
    usable_folder(settings.data_dir)
    key = signing_key(settings.data_dir)
    with open_database(settings.data_dir, settings.database) as engine:
        made = make_checkpoint(heads(engine), system_clock(), key)
    with whole_file(path) as file:
        file.write(checkpoint_text(made))
    return f"{path}: {len(made.portfolios)} portfolios at {time_text(made.made_at)}, signed with {made.public_key}"


def write_events_file(settings: Settings, path: Path, portfolio: str | None) -> str:
    """The logs are in the file, one event a line, portfolio by portfolio; says so in one sentence. Raises BadSettings."""
    usable_folder(settings.data_dir)
    with open_database(settings.data_dir, settings.database) as engine:
        chosen = named_portfolios(all_portfolios(engine), portfolio)
        if portfolio is not None and not chosen:
            raise BadSettings(f"there is no portfolio called {portfolio!r}: daybook replay lists them")
        with whole_file(path) as file:
            count = sum(_written(file, PostgresLog(engine, system_clock).read(one)) for one in chosen)
    return f"{path}: {count} events of {len(chosen)} portfolios"


def event_line(envelope: Envelope) -> str:
    """The envelope as one JSON object, with the exact stored texts and the hash in hex."""
    fields = {
        "portfolio_id": str(envelope.portfolio_id),
        "position": envelope.position,
        "event_id": str(envelope.event_id),
        "type": envelope.type,
        "version": envelope.version,
        "occurred_at": time_text(envelope.occurred_at),
        "recorded_at": time_text(envelope.recorded_at),
        "actor": envelope.actor,
        "correlation_id": str(envelope.correlation_id),
        "causation_id": _text(envelope.causation_id),
        "payload": envelope.payload,
        "metadata": envelope.metadata,
        "hash": envelope.hash.hex(),
    }
    return canonical_json(fields)


def _written(file: IO[str], envelopes: Iterable[Envelope]) -> int:
    count = 0
    for envelope in envelopes:
        file.write(event_line(envelope) + "\n")
        count += 1
    return count


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A text file that appears under its name when it is complete, and not at all when writing fails."""
    with draft_of(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place at the end, and is gone when something fails on the way.

    Links are followed. Raises BadTarget for a place that no file of ours may take.
    """
    target = check_target(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def check_target(path: Path) -> Path:
    """The place that a file at `path` would take, over links. Raises BadTarget for one that no file of ours may take."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise BadTarget(f"{path} is no plain file: name one that may be written")
    if not target.parent.is_dir():
        raise BadTarget(f"{path}: there is no folder {target.parent}: make it first")
    if not os.access(target.parent, os.W_OK):
        raise BadTarget(f"{path}: nothing may be written to {target.parent}: name another folder")
    return target


def check_folder(folder: Path) -> None:
    """Files can be written to the folder, which is there or can be made. Raises BadTarget."""
    there = next(one for one in (folder.resolve(), *folder.resolve().parents) if one.exists())
    if not there.is_dir():
        raise BadTarget(f"the folder {folder} cannot be made: {there} is no folder")
    if not os.access(there, os.W_OK):
        raise BadTarget(f"the folder {folder} cannot be written: nothing may be written to {there}")


class BadTarget(DaybookError):
    """A file cannot be written where it is wanted; the text says why and what to do."""
