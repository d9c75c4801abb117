"""The log, its append function, triggers and roles, and the first views."""

from typing import Final

from alembic import op

revision = "0001"
down_revision = None

LOG_PARTITIONS: Final = 8

ROLES: Final = """
do $$
declare wanted text;
begin
    foreach wanted in array array['daybook_owner', 'daybook_writer', 'daybook_reader'] loop
        begin
            if not exists (select from pg_roles where rolname = wanted) then
                execute format('create role %I nologin', wanted);
            end if;
        exception when duplicate_object or unique_violation then
            null;  -- another database of this server was being set up at the same moment
        end;
        if not pg_has_role(current_user, wanted, 'member') then
            execute format('grant %I to current_user', wanted);
        end if;
    end loop;
end $$;
grant usage, create on schema public to daybook_owner;
grant usage on schema public to daybook_writer, daybook_reader;
revoke create on schema public from public;
"""

LOG: Final = """
create table portfolios (
    portfolio_id uuid primary key,
    head_position bigint not null,
    head_hash bytea not null,
    head_recorded_at timestamptz not null
);

create table events (
    portfolio_id uuid not null,
    position bigint not null check (position > 0),
    event_id uuid not null,
    type text not null,
    version smallint not null,
    occurred_at timestamptz not null check (occurred_at >= '0001-01-01Z' and occurred_at < '10000-01-01Z'),
    recorded_at timestamptz not null check (recorded_at >= '0001-01-01Z' and recorded_at < '10000-01-01Z'),
    actor text not null,
    correlation_id uuid not null,
    causation_id uuid,
    payload text not null,
    metadata text not null,
    hash bytea not null,
    primary key (portfolio_id, position),
    unique (portfolio_id, event_id)
) partition by hash (portfolio_id);
create index events_of_story on events (portfolio_id, correlation_id);
"""

# One statement appends the whole batch. The lock on the head row makes positions follow commit order without gaps, so a
# reader only needs "position > last position read".
# The hashed bytes (defined in `ledger/log/event_log.py`) are written out because helper functions, called a dozen times
# per event, would cost more than the hashing. Every field follows its length (hexadecimal).
# Sequential scans are off so that a plan made for a small log is not kept as it grows.
APPEND: Final = r"""
create function append_events(portfolio uuid, expected bigint, recorded timestamptz, batch jsonb)
    returns table (event_id uuid, "position" bigint, recorded_at timestamptz, hash bytea, appended boolean)
    language plpgsql security definer
    set search_path = pg_catalog, public
    set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    head public.portfolios%rowtype;
    ids uuid[];
    known uuid[] := '{}';
    clash uuid;
    place bigint;
    link bytea;
    n record;
    hashes bytea[];
begin
    if batch -> 0 ->> 'type' = 'PortfolioOpened' then
        insert into public.portfolios values
            (portfolio, 0, sha256('daybook-1'::bytea || uuid_send(portfolio)), recorded)
        on conflict do nothing;
    end if;
    select * into head from public.portfolios p where p.portfolio_id = portfolio for update;
    if not found then
        raise exception 'there is no portfolio %', portfolio using errcode = 'DB001';
    end if;
    ids := array(select (one ->> 'event_id')::uuid from jsonb_array_elements(batch) one);
    known := array(select e.event_id from public.events e where e.portfolio_id = portfolio and e.event_id = any (ids));

    if cardinality(known) > 0 then
        select e.event_id into clash
            from jsonb_to_recordset(batch) as b
                (event_id uuid, type text, version smallint, occurred_at timestamptz, actor text, payload text, metadata text)
            join public.events e on e.portfolio_id = portfolio and e.event_id = b.event_id
            where (e.type, e.version, e.occurred_at, e.actor, e.payload, e.metadata)
                is distinct from (b.type, b.version, b.occurred_at, b.actor, b.payload, b.metadata)
            limit 1;
        if clash is not null then
            raise exception 'event % is already stored with other content', clash using errcode = 'DB002';
        end if;
        return query
            select e.event_id, e.position, e.recorded_at, e.hash, false
            from public.events e where e.portfolio_id = portfolio and e.event_id = any (known);
        batch := (select jsonb_agg(one order by place) from jsonb_array_elements(batch) with ordinality as a (one, place)
                  where (one ->> 'event_id')::uuid <> all (known));
    end if;
    if batch is null or batch = '[]' then
        return;
    end if;
    if expected <> head.head_position then
        raise exception 'expected position %, but the log stands at %', expected, head.head_position
            using errcode = 'DB004';
    end if;

    recorded := greatest(recorded, head.head_recorded_at);
    place := head.head_position;
    link := head.head_hash;
    for n in
        select * from jsonb_to_recordset(batch) as b
            (event_id uuid, type text, version smallint, occurred_at timestamptz, actor text,
             correlation_id uuid, causation_id uuid, payload text, metadata text)
    loop
        place := place + 1;
        link := sha256(
            link
            || '\x00000009'::bytea || 'daybook-1'::bytea
            || '\x00000010'::bytea || uuid_send(portfolio)
            || '\x00000008'::bytea || int8send(place)
            || '\x00000010'::bytea || uuid_send(n.event_id)
            || int4send(octet_length(n.type)) || convert_to(n.type, 'UTF8')
            || '\x00000002'::bytea || int2send(n.version)
            || '\x00000008'::bytea || int8send((extract(epoch from n.occurred_at) * 1000000)::bigint)
            || '\x00000008'::bytea || int8send((extract(epoch from recorded) * 1000000)::bigint)
            || int4send(octet_length(n.actor)) || convert_to(n.actor, 'UTF8')
            || '\x00000010'::bytea || uuid_send(n.correlation_id)
            || coalesce('\x00000010'::bytea || uuid_send(n.causation_id), '\x00000000'::bytea)
            || int4send(octet_length(n.payload)) || convert_to(n.payload, 'UTF8')
            || int4send(octet_length(n.metadata)) || convert_to(n.metadata, 'UTF8')
        );
        hashes[place - head.head_position] := link;
    end loop;

    return query
        insert into public.events
        select portfolio, head.head_position + b.place, b.event_id, b.type, b.version, b.occurred_at, recorded, b.actor,
               b.correlation_id, b.causation_id, b.payload, b.metadata, hashes[b.place]
        from rows from (jsonb_to_recordset(batch) as
            (event_id uuid, type text, version smallint, occurred_at timestamptz, actor text,
             correlation_id uuid, causation_id uuid, payload text, metadata text))
            with ordinality as b
            (event_id, type, version, occurred_at, actor, correlation_id, causation_id, payload, metadata, place)
        returning event_id, position, recorded_at, hash, true;
    update public.portfolios p
        set head_position = place, head_hash = link, head_recorded_at = recorded
        where p.portfolio_id = portfolio;
end $$;
"""

LOCK: Final = """
create function lock_portfolio(portfolio uuid) returns void
    language sql security definer
    set search_path = pg_catalog, public
    begin atomic
        select from public.portfolios where portfolio_id = portfolio for update;
    end;
"""

# Statement triggers on the table and each partition, always enabled: no session setting disables them.
IMMUTABLE: Final = """
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% on % is refused: the log is immutable, correct it with a new event', tg_op, tg_table_name
        using errcode = 'DB003';
end $$;
"""

COMMANDS: Final = """
create table commands (
    portfolio_id uuid not null,
    idempotency_key text not null,
    request_hash text not null,
    status smallint,
    answer text,
    received_at timestamptz not null,
    primary key (portfolio_id, idempotency_key)
);
"""

VIEWS: Final = """
create table view_checkpoints (
    portfolio_id uuid primary key,
    generation bigint not null,
    position bigint not null,
    versions text not null,
    stopped_position bigint,
    stopped_reason text,
    check ((stopped_position is null) = (stopped_reason is null))
);

create table portfolio_details (
    portfolio_id uuid, generation bigint, name text, base_currency text not null, opened_at timestamptz not null,
    primary key (portfolio_id, generation, name)
);

create table accounts (
    portfolio_id uuid, generation bigint, account text, venue text not null, mode text not null,
    opened_at timestamptz not null,
    primary key (portfolio_id, generation, account)
);

create table limits (
    portfolio_id uuid, generation bigint, name text, value numeric not null,
    primary key (portfolio_id, generation, name)
);

create table trading_states (
    portfolio_id uuid, generation bigint, scope text, halted boolean not null, reason text not null,
    since timestamptz not null,
    primary key (portfolio_id, generation, scope)
);

create table balances (
    portfolio_id uuid, generation bigint, asset text, account text, quantity numeric not null, deposited numeric not
    null, primary key (portfolio_id, generation, asset, account)
);

create table legs (
    portfolio_id uuid, generation bigint, asset text, occurred_at timestamptz, position bigint, leg bigint,
    event_id uuid not null, account text not null, instrument text not null, quantity numeric not null,
    value numeric not null, fee numeric not null, triggered_by text,
    primary key (portfolio_id, generation, asset, occurred_at, position, leg)
);

create table lots (
    portfolio_id uuid, generation bigint, asset text, opened_at timestamptz, position bigint, leg bigint,
    event_id uuid not null, quantity numeric not null, cost numeric not null, closed_quantity numeric not null,
    triggered_by text,
    primary key (portfolio_id, generation, asset, opened_at, position, leg)
);
create index lots_open on lots (portfolio_id, generation, asset, opened_at, position, leg)
    where closed_quantity < quantity;

create table matches (
    portfolio_id uuid, generation bigint, asset text, closed_at timestamptz, closing_position bigint, closing_leg
    bigint, opening_position bigint, opening_leg bigint, opened_at timestamptz not null, opening_event_id uuid not null,
    closing_event_id uuid not null, quantity numeric not null, proceeds numeric not null, cost_basis numeric not null,
    realized_pnl numeric not null, opened_by text, closed_by text,
    primary key (portfolio_id, generation, asset, closed_at, closing_position, closing_leg, opening_position, opening_leg)
);

create index matches_by_opening on matches (portfolio_id, generation, opening_event_id);
create index matches_by_closing on matches (portfolio_id, generation, closing_event_id);

create table unmatched_disposals (
    portfolio_id uuid, generation bigint, asset text, occurred_at timestamptz, position bigint, leg bigint,
    event_id uuid not null, quantity numeric not null, proceeds numeric not null,
    primary key (portfolio_id, generation, asset, occurred_at, position, leg)
);

create table holdings (
    portfolio_id uuid, generation bigint, asset text, quantity numeric not null, cost_basis numeric not null,
    realized_pnl numeric not null, fees numeric not null, unmatched_quantity numeric not null,
    unmatched_proceeds numeric not null, last_occurred_at timestamptz not null, last_position bigint not null,
    last_leg bigint not null,
    primary key (portfolio_id, generation, asset)
);

create table trades (
    portfolio_id uuid, generation bigint, trade_id uuid, position bigint not null, occurred_at timestamptz not null,
    account text not null, venue text not null, venue_trade_id text not null, instrument text not null,
    side text not null, quantity numeric not null, price numeric not null, value numeric not null, fees numeric not
    null, order_id uuid, triggered_by text,
    primary key (portfolio_id, generation, trade_id)
);
create index trades_by_position on trades (portfolio_id, generation, position);
create index trades_of_order on trades (portfolio_id, generation, order_id) where order_id is not null;

create table marks (
    portfolio_id uuid, generation bigint, instrument text, price numeric not null, observed_at timestamptz not null,
    source text not null,
    primary key (portfolio_id, generation, instrument)
);

create table bots (
    portfolio_id uuid, generation bigint, bot_id text, kind text not null, bot_version text not null,
    instrument text not null, timeframe text not null, parameters text not null, status text not null,
    status_reason text not null, status_since timestamptz not null, last_asof timestamptz, last_score numeric,
    last_confidence numeric,
    primary key (portfolio_id, generation, bot_id)
);

create table signals (
    portfolio_id uuid, generation bigint, signal_id uuid, position bigint not null, bot_id text not null,
    instrument text not null, asof timestamptz not null, price numeric not null, score numeric not null,
    confidence numeric not null, horizon_s bigint, note text not null, status text not null, verdict_position bigint,
    failed_rules text not null, reason text not null,
    primary key (portfolio_id, generation, signal_id)
);
create index signals_by_position on signals (portfolio_id, generation, position);
create index signals_undecided on signals (portfolio_id, generation, position) where status = 'emitted';

create table opinions (
    portfolio_id uuid, generation bigint, bot_id text, instrument text, action text not null,
    since timestamptz not null, asof timestamptz not null, bars bigint not null, traded_at timestamptz,
    primary key (portfolio_id, generation, bot_id, instrument)
);

create table orders (
    portfolio_id uuid, generation bigint, order_id uuid, position bigint not null, client_order_id text not null,
    account text not null, venue text not null, instrument text not null, side text not null, kind text not null,
    base_size numeric, quote_size numeric, limit_price numeric, signal_id uuid, triggered_by text not null,
    requested_at timestamptz not null, expires_at timestamptz not null, status text not null, attempt bigint not null,
    submitted_at timestamptz, venue_order_id text, filled_quantity numeric not null, filled_value numeric not null,
    fills bigint not null, reason text not null,
    primary key (portfolio_id, generation, order_id)
);
create index orders_by_position on orders (portfolio_id, generation, position);
create index orders_open on orders (portfolio_id, generation, position) where status not in ('refused', 'closed');
"""

LOG_TABLES: Final = ("portfolios", "events", *(f"events_{number}" for number in range(LOG_PARTITIONS)))
VIEW_TABLES: Final = (
    "view_checkpoints", "portfolio_details", "accounts", "limits", "trading_states", "balances", "legs", "lots", "matches",
    "unmatched_disposals", "holdings", "trades", "marks", "bots", "signals", "opinions", "orders", "commands",
)  # fmt: skip
FUNCTIONS: Final = (
    "refuse_change()", "lock_portfolio(uuid)", "append_events(uuid, bigint, timestamptz, jsonb)",
)  # fmt: skip


def upgrade() -> None:
    op.execute(ROLES)
    op.execute(LOG)
    for number in range(LOG_PARTITIONS):
        op.execute(
            f"create table events_{number} partition of events"
            f" for values with (modulus {LOG_PARTITIONS}, remainder {number})"
        )
    op.execute(APPEND)
    op.execute(LOCK)
    op.execute(IMMUTABLE)
    for table in LOG_TABLES[1:]:
        op.execute(
            f"create trigger refuse_change before update or delete or truncate on {table}"
            f" for each statement execute function refuse_change();"
            f"alter table {table} enable always trigger refuse_change"
        )
    op.execute(COMMANDS)
    op.execute(VIEWS)
    _grant()


def _grant() -> None:
    for table in (*LOG_TABLES, *VIEW_TABLES):
        op.execute(f"alter table {table} owner to daybook_owner; revoke all on {table} from public")
        op.execute(f"grant select on {table} to daybook_writer, daybook_reader")
    for table in VIEW_TABLES:
        op.execute(f"grant insert, update, delete on {table} to daybook_writer")
    for function in FUNCTIONS:
        op.execute(f"alter function {function} owner to daybook_owner; revoke all on function {function} from public")
    op.execute("grant execute on function append_events(uuid, bigint, timestamptz, jsonb) to daybook_writer")
    op.execute("grant execute on function lock_portfolio(uuid) to daybook_writer")
    op.execute("grant select on alembic_version to daybook_writer, daybook_reader")
