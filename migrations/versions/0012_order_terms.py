"""Orders have stop prices and times in force."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table orders add column stop_price numeric, add column time_in_force text")


def downgrade() -> None:
    raise RuntimeError("the log is never taken down: restore a backup instead")
