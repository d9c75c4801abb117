"""An append function for large batches: the same rules and hash chain, with arrays instead of JSON."""

from typing import Final

from alembic import op

revision = "0003"
down_revision = "0002"

# It handles one case: all events are new and the log is at the expected position. Otherwise it stores and returns
# nothing, and the caller uses `append_events` in the same transaction, with the head row still locked; so no rule is
# written twice.
# One query builds the bodies and a minimal loop chains them. The unique index finds repeated ids while inserting, at no
# cost if there are none.
APPEND_MANY: Final = r"""
create function append_many(
    portfolio uuid, expected bigint, recorded timestamptz, ids uuid[], types text[], versions smallint[],
    times timestamptz[], actors text[], correlations uuid[], causations uuid[], payloads text[], metadatas text[])
    returns table (last_position bigint, recorded_at timestamptz, hashes bytea[])
    language plpgsql security definer
    set search_path = pg_catalog, public
    set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    head public.portfolios%rowtype;
    bodies bytea[];
    body bytea;
    link bytea;
    links bytea[] := '{}';
begin
    if types[1] = 'PortfolioOpened' then
        insert into public.portfolios values
            (portfolio, 0, sha256('daybook-1'::bytea || uuid_send(portfolio)), recorded)
        on conflict do nothing;
    end if;
    select * into head from public.portfolios p where p.portfolio_id = portfolio for update;
    if not found or expected <> head.head_position or cardinality(ids) = 0 then
        return;
    end if;
    recorded := greatest(recorded, head.head_recorded_at);

    bodies := array(select
               '\x00000009'::bytea || 'daybook-1'::bytea
            || '\x00000010'::bytea || uuid_send(portfolio)
            || '\x00000008'::bytea || int8send(head.head_position + b.place)
            || '\x00000010'::bytea || uuid_send(b.event_id)
            || int4send(octet_length(b.type)) || convert_to(b.type, 'UTF8')
            || '\x00000002'::bytea || int2send(b.version)
            || '\x00000008'::bytea || int8send((extract(epoch from b.occurred_at) * 1000000)::bigint)
            || '\x00000008'::bytea || int8send((extract(epoch from recorded) * 1000000)::bigint)
            || int4send(octet_length(b.actor)) || convert_to(b.actor, 'UTF8')
            || '\x00000010'::bytea || uuid_send(b.correlation_id)
            || coalesce('\x00000010'::bytea || uuid_send(b.causation_id), '\x00000000'::bytea)
            || int4send(octet_length(b.payload)) || convert_to(b.payload, 'UTF8')
            || int4send(octet_length(b.metadata)) || convert_to(b.metadata, 'UTF8')
        from unnest(ids, types, versions, times, actors, correlations, causations, payloads, metadatas) with ordinality
            as b (event_id, type, version, occurred_at, actor, correlation_id, causation_id, payload, metadata, place)
        order by b.place);
    link := head.head_hash;
    foreach body in array bodies loop
        link := sha256(link || body);
        links := links || link;
    end loop;

    begin
        insert into public.events
        select portfolio, head.head_position + b.place, b.event_id, b.type, b.version, b.occurred_at, recorded, b.actor,
               b.correlation_id, b.causation_id, b.payload, b.metadata, b.link
        from unnest(ids, types, versions, times, actors, correlations, causations, payloads, metadatas, links)
            with ordinality as b
            (event_id, type, version, occurred_at, actor, correlation_id, causation_id, payload, metadata, link, place);
    exception when unique_violation then
        return;
    end;
    update public.portfolios p
        set head_position = head.head_position + cardinality(links), head_hash = link, head_recorded_at = recorded
        where p.portfolio_id = portfolio;
    return query select head.head_position + cardinality(links), recorded, links;
end $$;
"""

_NAME: Final = (
    "append_many(uuid, bigint, timestamptz, uuid[], text[], smallint[], timestamptz[], text[], uuid[], uuid[],"
    " text[], text[])"
)


def upgrade() -> None:
    op.execute(APPEND_MANY)
    op.execute(f"alter function {_NAME} owner to daybook_owner; revoke all on function {_NAME} from public")
    op.execute(f"grant execute on function {_NAME} to daybook_writer")
