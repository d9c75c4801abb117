"""Who trades a portfolio: one holder at a time, counted up with each that takes over."""

from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "create table leaders (portfolio_id uuid primary key, epoch bigint not null, holder text not null,"
        " since timestamptz not null)"
    )
    op.execute("alter table leaders owner to daybook_owner; revoke all on leaders from public")
    op.execute("grant select, insert, update on leaders to daybook_writer")


def downgrade() -> None:
    raise RuntimeError("the log is never taken down: restore a backup instead")
