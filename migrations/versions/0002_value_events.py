"""Views of all value events: splits, reversals, short lots, unknown costs."""

from typing import Final

from alembic import op

revision = "0002"
down_revision = "0001"

# Views of an older version are rebuilt from the log before use: the defaults only fill old rows.
ADDED: Final = (
    ("portfolio_details", "allow_short boolean not null", "false"),
    ("portfolio_details", "closed_at timestamptz", None),
    ("portfolio_details", "closed_reason text", None),
    ("balances", "income numeric not null", "0"),
    ("balances", "expenses numeric not null", "0"),
    ("legs", "kind text not null", "''"),
    ("legs", "cost_known boolean not null", "true"),
    ("lots", "short boolean not null", "false"),
    ("lots", "cost_known boolean not null", "true"),
    ("matches", "kind text not null", "''"),
    ("matches", "short boolean not null", "false"),
    ("matches", "cost_known boolean not null", "true"),
    ("unmatched_disposals", "kind text not null", "''"),
    ("holdings", "unknown_cost_quantity numeric not null", "0"),
    ("holdings", "unknown_cost_proceeds numeric not null", "0"),
    ("holdings", "contributed numeric not null", "0"),
    ("holdings", "income numeric not null", "0"),
    ("holdings", "expenses numeric not null", "0"),
    ("trades", "reversed boolean not null", "false"),
)

TABLES: Final = """
create table splits (
    portfolio_id uuid, generation bigint, asset text, occurred_at timestamptz, position bigint, event_id uuid not null,
    numerator bigint not null, denominator bigint not null,
    primary key (portfolio_id, generation, asset, occurred_at, position)
);

create table reversals (
    portfolio_id uuid, generation bigint, event_id uuid, reversed_by uuid not null, position bigint not null,
    reason text not null,
    primary key (portfolio_id, generation, event_id)
);
"""


def upgrade() -> None:
    for table, column, default in ADDED:
        name = column.split()[0]
        op.execute(f"alter table {table} add column {column}" + (f" default {default}" if default else ""))
        if default:
            op.execute(f"alter table {table} alter column {name} drop default")
    op.execute(TABLES)
    for table in ("splits", "reversals"):
        op.execute(f"alter table {table} owner to daybook_owner; revoke all on {table} from public")
        op.execute(f"grant select on {table} to daybook_writer, daybook_reader")
        op.execute(f"grant insert, update, delete on {table} to daybook_writer")
