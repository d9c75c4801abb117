"""Stop prices and times in force of orders."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute("alter table orders add column stop_price numeric, add column time_in_force text")
