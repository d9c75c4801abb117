"""Exits: stops and targets of positions."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute(
        "create table exits (portfolio_id uuid, generation bigint, exit_id uuid, position bigint not null,"
        " account text not null, instrument text not null, order_id uuid, status text not null, quantity numeric,"
        " bought numeric not null, stop numeric, target numeric, trail numeric, sale_id uuid,"
        " armed_at timestamptz not null, changes bigint not null, reason text not null,"
        " primary key (portfolio_id, generation, exit_id))"
    )
    op.execute("alter table exits owner to daybook_owner; revoke all on exits from public")
    op.execute("grant select on exits to daybook_writer, daybook_reader")
    op.execute("grant insert, update, delete on exits to daybook_writer")
