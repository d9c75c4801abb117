"""API keys, webhooks, and the webhook messages already accepted."""

from typing import Final

from alembic import op

revision = "0007"
down_revision = "0006"

# They belong to the installation (the nil portfolio) and contain no secrets.
TABLES: Final = """
create table api_keys (
    portfolio_id uuid, key_id text, name text not null, scopes text not null, hash bytea not null,
    created_at timestamptz not null, expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz,
    primary key (portfolio_id, key_id)
);

create table webhooks (
    portfolio_id uuid, name text, template text not null, passphrase boolean not null, symbols text not null,
    salts text not null, created_at timestamptz not null, last_used_at timestamptz,
    primary key (portfolio_id, name)
);

create table webhook_nonces (
    portfolio_id uuid, webhook text, nonce bytea, seen_at timestamptz not null,
    primary key (portfolio_id, webhook, nonce)
);
create index webhook_nonces_by_age on webhook_nonces (portfolio_id, seen_at);
"""


def upgrade() -> None:
    op.execute(TABLES)
    for table in ("api_keys", "webhooks", "webhook_nonces"):
        op.execute(f"alter table {table} owner to daybook_owner; revoke all on {table} from public")
        op.execute(f"grant select, insert, update, delete on {table} to daybook_writer")
