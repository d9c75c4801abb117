"""Runs an import: appends the events of the source that the log does not contain yet."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from uuid import UUID

from pydantic import ValidationError

from ledger.events import AccountOpened, Event, PortfolioOpened, TradeReversed
from ledger.imports.facts import sentences
from ledger.imports.pending import PendingEvent, pending_event
from ledger.imports.run import Store, WrongPortfolio, append_many
from ledger.log.envelope import canonical_json
from ledger.values import Asset, derived_id
from migrations.legacy.load.logged import LogState, read_log, reconcile, reversal_id
from migrations.legacy.load.stage import Stage
from migrations.legacy.load.staging import Progress, context_of, counted, staged
from migrations.legacy.read.schema import MAPPING
from migrations.legacy.read.source import Source, open_source
from migrations.legacy.translate.decisions import UNDECIDED, Decisions, checked, merged
from migrations.legacy.translate.executions import ACCOUNT, PAPER_ACCOUNT, VENUE
from migrations.legacy.translate.outcomes import EPOCH


@dataclass(frozen=True, slots=True)
class Wanted:
    """A requested import. `folder` keeps archives and decisions of the portfolio.

    `base` must match the base currency of an existing portfolio. A new one gets it, else the most common quote currency.
    """

    url: str
    name: str
    portfolio_id: UUID
    folder: Path
    decisions: Decisions = field(default_factory=dict)
    base: Asset | None = None

    @property
    def paper_name(self) -> str:
        return f"{self.name[:90]} paper"

    @property
    def paper_id(self) -> UUID:
        return derived_id("portfolio", self.paper_name)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A translated source and the state of its portfolios' logs. `stale` are trades to reverse, by portfolio."""

    wanted: Wanted
    source: Source
    stage: Stage
    base: Asset
    logs: dict[UUID, LogState]
    stale: dict[UUID, list[str]]


@dataclass(frozen=True, slots=True)
class Done:
    """Result of a run: new events, and trades reversed because the source changed."""

    imported: int
    reversed: int
    archive: Path


@contextmanager
def prepared(
    store: Store,
    wanted: Wanted,
    progress: Progress = lambda _: None,
    *,
    origins: bool = False,
    comparison: bool = False,
) -> Iterator[Prepared]:
    """Read and translate the source and compare it with the log. Nothing is written.

    `run_import` needs `origins`, `check_import` needs `comparison`. Raises BadSource, BadDecisions, and WrongPortfolio for a
    portfolio that was not opened by this import.
    """
    decisions = merged(kept_decisions(wanted.folder), wanted.decisions)
    with open_source(wanted.url) as source:
        base = _base(store, wanted, source)
        _portfolio(wanted.name, base)
        context = context_of(
            source, wanted.portfolio_id, wanted.paper_id, base, decisions, origins=origins, comparison=comparison
        )
        with staged(source, context, progress) as stage:
            ids = (wanted.portfolio_id, wanted.paper_id)
            logs = {one: read_log(stage, store.book.log, one) for one in ids}
            for one in logs.values():
                _must_be_own(wanted.name, one)
            stale = {one: reconcile(stage, one) for one in ids}
            yield Prepared(wanted, source, stage, base, logs, stale)


def run_import(store: Store, found: Prepared, progress: Progress = lambda _: None) -> Done:
    """Append all missing events, update the views and archive the source.

    The next run completes an interrupted one. Raises WrongPortfolio if the import was rolled back.
    """
    wanted = found.wanted
    assert found.stage.context.origins, "events need their origin"
    if any(one.rolled_back for one in found.logs.values()):
        raise WrongPortfolio(f"the import into {wanted.name!r} was rolled back: import into another portfolio")
    archive = _archived(found)
    imported = 0
    for portfolio_id, name, account in (
        (wanted.portfolio_id, wanted.name, AccountOpened(account=ACCOUNT, venue=VENUE, mode="live")),
        (wanted.paper_id, wanted.paper_name, AccountOpened(account=PAPER_ACCOUNT, venue=VENUE, mode="paper")),
    ):
        opening = _opening(found, portfolio_id, name, account)
        if not opening and not found.logs[portfolio_id].exists:
            continue
        # Closed here, so that a failing run leaves no cursor open.
        with (
            closing(found.stage.events(portfolio_id, "position is null")) as events,
            closing(counted(chain(opening, events, _reversals(found, portfolio_id)), progress)) as new,
        ):
            imported += append_many(store, portfolio_id, new) - len(opening)
    reversed_ = sum(map(len, found.stale.values()))
    return Done(imported - reversed_, reversed_, archive)


def kept_decisions(folder: Path) -> Decisions:
    """Return the decisions of earlier runs. Raises BadDecisions."""
    path = folder / "decisions.json"
    return checked(json.loads(path.read_text(encoding="utf-8")), str(path)) if path.exists() else UNDECIDED


def newest_archive(folder: Path) -> Path | None:
    """Return the source as archived by the last run."""
    found = sorted(folder.glob("*.sqlite"), key=lambda path: path.stat().st_mtime_ns)
    return found[-1] if found else None


def _archived(found: Prepared) -> Path:
    """Keep the source as it was read, and all decisions, in the folder. Each file is written atomically."""
    folder = found.wanted.folder
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found.stage.context.decisions, indent=2, ensure_ascii=False)
    _whole(folder / "decisions.json", lambda draft: draft.write_text(text, encoding="utf-8"))
    archive = folder / f"{found.source.sha256[:16]}.sqlite"
    if not archive.exists():
        _whole(archive, lambda draft: shutil.copyfile(found.source.path, draft))
    os.utime(archive)
    return archive


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    draft = path.with_name(path.name + ".part")
    write(draft)
    draft.replace(path)


def _must_be_own(name: str, log: LogState) -> None:
    if log.exists and log.mapping is None:
        raise WrongPortfolio(f"portfolio {name!r} was not opened by an import: choose a new name")
    if log.mapping not in (None, MAPPING):
        raise WrongPortfolio(
            f"{name!r} was imported by translation {log.mapping}, this is {MAPPING}: import into another portfolio"
        )


def _base(store: Store, wanted: Wanted, source: Source) -> Asset:
    opened = next(iter(store.book.log.read(wanted.portfolio_id, 0, 1)), None)
    if opened is not None:
        event = opened.event
        assert isinstance(event, PortfolioOpened)
        if wanted.base not in (None, event.base_currency):
            raise WrongPortfolio(f"the base currency of {wanted.name!r} is {event.base_currency}: omit --base")
        return event.base_currency
    return wanted.base or _most_common_quote(source)


def _most_common_quote(source: Source) -> Asset:
    table = source.tables.get("trades")
    if table is None or "product_id" not in table.columns:
        return Asset("USD")
    with closing(source.connection.cursor()) as cursor:
        cursor.execute(
            "select upper(trim(substr(product_id, instr(product_id, '-') + 1))) quote, count(*) from trades"
            " where product_id like '%-%' group by 1 order by 2 desc, 1 <> 'USD', 1"
        )
        for quote, _ in cursor:
            try:
                return Asset(quote)
            except ValueError:
                continue
    return Asset("USD")


def _opening(found: Prepared, portfolio_id: UUID, name: str, account: AccountOpened) -> list[PendingEvent]:
    """Open the portfolio and its account at the time of the first event; empty if it exists or there are no events."""
    if found.logs[portfolio_id].exists:
        return []
    (first,) = found.stage.connection.execute(
        "select min(at) from events where portfolio = ?", (str(portfolio_id),)
    ).fetchone()
    if first is None:
        return []
    at = EPOCH + timedelta(microseconds=first)
    opened = _portfolio(name, found.base)
    legacy = {"source": found.source.label, "sha256": found.source.sha256, "mapping": MAPPING}
    metadata = canonical_json({"legacy": legacy}).encode("utf-8", "replace").decode()
    return [
        _ready(opened, derived_id("portfolio opened", portfolio_id), at, metadata),
        _ready(account, derived_id("account opened", portfolio_id, account.account), at, metadata),
    ]


def _portfolio(name: str, base: Asset) -> PortfolioOpened:
    try:
        return PortfolioOpened(name=name, base_currency=base)
    except ValidationError as error:
        raise WrongPortfolio(f"invalid portfolio name {name[:100]!r}: {sentences(error)}") from None


def _reversals(found: Prepared, portfolio_id: UUID) -> Iterator[PendingEvent]:
    """Reverse the trades no longer in the source, newest first, which refolds least."""
    for id_ in found.stale[portfolio_id]:
        table, key, at = found.stage.connection.execute("select tbl, key, at from log where id = ?", (id_,)).fetchone()
        reason = f"{table} {key} changed in the source"
        metadata = canonical_json({"legacy": {"mapping": MAPPING, "row": f"{table} {key}"}})
        event = TradeReversed(reverses=UUID(id_), reason=reason)
        yield _ready(event, reversal_id(UUID(id_)), EPOCH + timedelta(microseconds=at), metadata)


def _ready(event: Event, id_: UUID, at: datetime, metadata: str) -> PendingEvent:
    return pending_event(event, id_, at, metadata, 0, "")
