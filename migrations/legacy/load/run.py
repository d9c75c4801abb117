"""Running an import: what the source calls for and the log does not hold goes in, and nothing goes in twice."""

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
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
from migrations.legacy.load.logged import Held, read_log, reconcile, taken_back_id
from migrations.legacy.load.stage import Stage
from migrations.legacy.load.staging import Progress, context_of, staged
from migrations.legacy.read.schema import MAPPING
from migrations.legacy.read.source import Source, open_source
from migrations.legacy.translate.decisions import UNDECIDED, Decisions, checked, merged
from migrations.legacy.translate.executions import ACCOUNT, PAPER_ACCOUNT, VENUE
from migrations.legacy.translate.outcomes import EPOCH


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. `folder` is where archives and decisions of this portfolio are kept.

    `base` is checked against the portfolio's; a new one is opened with it, else with what most trades are priced in.
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
    """A source, translated, beside what the logs of its portfolios hold. `stale` are trades to take back, by portfolio."""

    wanted: Wanted
    source: Source
    stage: Stage
    base: Asset
    held: dict[UUID, Held]
    stale: dict[UUID, list[str]]


@dataclass(frozen=True, slots=True)
class Done:
    """What a run did: how many events are new, and how many trades were taken back because the source changed."""

    imported: int
    taken_back: int
    archive: Path


@contextmanager
def prepared(
    store: Store, wanted: Wanted, progress: Progress = lambda _: None, *, origins: bool = False, sightings: bool = False
) -> Iterator[Prepared]:
    """The source is read, translated and held against the log; nothing is written.

    To be run it needs `origins`, to be checked `sightings`.

    Raises BadSource, BadDecisions, and WrongPortfolio for a portfolio that is not this import's own.
    """
    decisions = merged(kept_decisions(wanted.folder), wanted.decisions)
    with open_source(wanted.url) as source:
        base = _base(store, wanted, source)
        _portfolio(wanted.name, base)
        context = context_of(
            source, wanted.portfolio_id, wanted.paper_id, base, decisions, origins=origins, sightings=sightings
        )
        with staged(source, context, progress) as stage:
            ids = (wanted.portfolio_id, wanted.paper_id)
            held = {one: read_log(stage, store.book.log, one) for one in ids}
            for one in held.values():
                _must_be_own(wanted.name, one)
            stale = {one: reconcile(stage, one) for one in ids}
            yield Prepared(wanted, source, stage, base, held, stale)


def run_import(store: Store, found: Prepared, progress: Progress = lambda _: None) -> Done:
    """Everything that the source calls for is in the logs and in their views; the archive holds the source as it was.

    Killed anywhere, the next run does the rest. Raises WrongPortfolio when the import was rolled back.
    """
    wanted = found.wanted
    assert found.stage.context.origins, "events say where they come from"
    if any(one.rolled_back for one in found.held.values()):
        raise WrongPortfolio(f"the import into {wanted.name!r} was rolled back: import into another portfolio")
    archive = _archived(found)
    imported = 0
    for portfolio_id, name, account in (
        (wanted.portfolio_id, wanted.name, AccountOpened(account=ACCOUNT, venue=VENUE, mode="live")),
        (wanted.paper_id, wanted.paper_name, AccountOpened(account=PAPER_ACCOUNT, venue=VENUE, mode="paper")),
    ):
        opening = _opening(found, portfolio_id, name, account)
        if not opening and not found.held[portfolio_id].exists:
            continue
        # Closed here, so that a run that dies half-way leaves no cursor behind.
        with (
            closing(found.stage.events(portfolio_id, "position is null")) as events,
            closing(_told(chain(opening, events, _taken_back(found, portfolio_id)), progress)) as new,
        ):
            imported += append_many(store, portfolio_id, new) - len(opening)
    taken_back = sum(map(len, found.stale.values()))
    return Done(imported - taken_back, taken_back, archive)


def kept_decisions(folder: Path) -> Decisions:
    """What was decided in earlier runs. Raises BadDecisions."""
    path = folder / "decisions.json"
    return checked(json.loads(path.read_text(encoding="utf-8")), str(path)) if path.exists() else UNDECIDED


def newest_archive(folder: Path) -> Path | None:
    """The copy of the source that the last run kept."""
    found = sorted(folder.glob("*.sqlite"), key=lambda path: path.stat().st_mtime_ns)
    return found[-1] if found else None


def _archived(found: Prepared) -> Path:
    """The source as it was read, and all decisions, are in the folder; each file appears whole or not at all."""
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


def _must_be_own(name: str, held: Held) -> None:
    if held.exists and held.mapping is None:
        raise WrongPortfolio(f"the portfolio {name!r} holds other things: an import needs a portfolio of its own")
    if held.mapping not in (None, MAPPING):
        raise WrongPortfolio(
            f"{name!r} was imported by translation {held.mapping}, this is {MAPPING}: import into another portfolio"
        )


def _base(store: Store, wanted: Wanted, source: Source) -> Asset:
    opened = next(iter(store.book.log.read(wanted.portfolio_id, 0, 1)), None)
    if opened is not None:
        event = opened.event
        assert isinstance(event, PortfolioOpened)
        if wanted.base not in (None, event.base_currency):
            raise WrongPortfolio(f"the portfolio {wanted.name!r} is kept in {event.base_currency}: leave --base out")
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
    """The portfolio and its account, as of the first event; nothing where it exists or nothing goes in."""
    if found.held[portfolio_id].exists:
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
        raise WrongPortfolio(f"{name[:100]!r} cannot be a portfolio's name: {sentences(error)}") from None


def _taken_back(found: Prepared, portfolio_id: UUID) -> Iterator[PendingEvent]:
    """The reversals of trades that the source no longer calls for, the newest first, which costs least."""
    for id_ in found.stale[portfolio_id]:
        table, key, at = found.stage.connection.execute("select tbl, key, at from log where id = ?", (id_,)).fetchone()
        reason = f"the source tells something else of {table} {key} now"
        metadata = canonical_json({"legacy": {"mapping": MAPPING, "row": f"{table} {key}"}})
        event = TradeReversed(reverses=UUID(id_), reason=reason)
        yield _ready(event, taken_back_id(UUID(id_)), EPOCH + timedelta(microseconds=at), metadata)


def _ready(event: Event, id_: UUID, at: datetime, metadata: str) -> PendingEvent:
    return pending_event(event, id_, at, metadata, 0, "")


def _told(events: Iterable[PendingEvent], progress: Progress) -> Generator[PendingEvent, None, None]:
    for count, one in enumerate(events, start=1):
        yield one
        if count % 1000 == 0:
            progress(1000)
