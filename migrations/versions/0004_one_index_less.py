"""What a trade closed is found by the key of its matches: the index on closing events only made appends dearer."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("drop index matches_by_closing")


def downgrade() -> None:
    raise RuntimeError("the log is never taken down: restore a backup instead")
