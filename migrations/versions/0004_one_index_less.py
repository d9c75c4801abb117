"""Drop the index on closing events: the primary key of matches serves the same queries, and appends get cheaper."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("drop index matches_by_closing")
