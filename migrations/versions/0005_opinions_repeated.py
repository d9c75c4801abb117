"""Bots: whether an unchanged opinion is repeated. Views are rebuilt at the next start."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("alter table bots add column repeats boolean not null default false")
