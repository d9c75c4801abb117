"""Leaders of portfolios, cancel requests, differences between ledger and venue, credentials of venue accounts."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute(
        "create table leaders (portfolio_id uuid primary key, epoch bigint not null, holder text not null,"
        " since timestamptz not null)"
    )
    op.execute("alter table leaders owner to daybook_owner; revoke all on leaders from public")
    op.execute("grant select, insert, update on leaders to daybook_writer")
    op.execute("alter table orders add column cancel_requested_at timestamptz")
    op.execute(
        "create table differences (portfolio_id uuid, generation bigint, difference_id uuid, position bigint not null,"
        " account text not null, venue text not null, subject text not null, ledger text not null,"
        " venue_says text not null, found_at timestamptz not null, status text not null, reason text not null,"
        " primary key (portfolio_id, generation, difference_id))"
    )
    op.execute("create index differences_by_position on differences (portfolio_id, generation, position)")
    op.execute("alter table differences owner to daybook_owner; revoke all on differences from public")
    op.execute("grant select on differences to daybook_writer, daybook_reader")
    op.execute("grant insert, update, delete on differences to daybook_writer")
    # Belongs to the installation. The credentials are encrypted with its key.
    op.execute(
        "create table venue_accounts (portfolio_id uuid, account text, venue text not null, sealed bytea not null,"
        " endpoint text, live boolean not null, created_at timestamptz not null, primary key (portfolio_id, account))"
    )
    op.execute("alter table venue_accounts owner to daybook_owner; revoke all on venue_accounts from public")
    op.execute("grant select, insert, update, delete on venue_accounts to daybook_writer")
