"""Targets of the owner, and closing prices of days."""

from typing import Final

from alembic import op

revision = "0008"
down_revision = "0007"

TABLES: Final = """
create table targets (
    portfolio_id uuid, generation bigint, target text, kind text not null, asset text, period text,
    value numeric not null, set_at timestamptz not null, primary key (portfolio_id, generation, target)
);
create table day_closings (
    portfolio_id uuid, generation bigint, instrument text, price numeric not null, observed_at timestamptz not null,
    primary key (portfolio_id, generation, instrument)
);
"""


def upgrade() -> None:
    op.execute(TABLES)
    for table in ("targets", "day_closings"):
        op.execute(f"alter table {table} owner to daybook_owner; revoke all on {table} from public")
        op.execute(f"grant select on {table} to daybook_writer, daybook_reader")
        op.execute(f"grant insert, update, delete on {table} to daybook_writer")
