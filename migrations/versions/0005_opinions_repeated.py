"""A bot's card says whether an opinion that stands is to be told again; the views are written anew at the next start."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table bots add column repeats boolean not null default false")


def downgrade() -> None:
    raise RuntimeError("the log is never taken down: restore a backup instead")
