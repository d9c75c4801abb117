"""Bot kinds from other packages that are enabled."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        "create table bot_kinds (portfolio_id uuid, generation bigint, kind text, distribution text not null,"
        " distribution_version text not null, sha256 text not null, enabled_at timestamptz not null,"
        " primary key (portfolio_id, generation, kind))"
    )
    op.execute("alter table bot_kinds owner to daybook_owner; revoke all on bot_kinds from public")
    op.execute("grant select on bot_kinds to daybook_writer, daybook_reader")
    op.execute("grant insert, update, delete on bot_kinds to daybook_writer")
