"""Modes of bots, and an index of signals awaiting a decision."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute(
        "create table bot_modes (portfolio_id uuid, generation bigint, bot_id text, mode text not null,"
        " set_at timestamptz not null, primary key (portfolio_id, generation, bot_id))"
    )
    op.execute("alter table bot_modes owner to daybook_owner; revoke all on bot_modes from public")
    op.execute("grant select on bot_modes to daybook_writer, daybook_reader")
    op.execute("grant insert, update, delete on bot_modes to daybook_writer")
    op.execute("drop index signals_undecided")
    op.execute(
        "create index signals_undecided on signals (portfolio_id, generation, position)"
        " where status in ('emitted', 'asked')"
    )
