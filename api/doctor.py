"""`daybook doctor`: the settings in force and the state of the database, secrets masked."""

from collections.abc import Iterator

from api.settings import SETTINGS_FILE, Settings
from ledger.database import open_database, shown_url
from ledger.replay import all_portfolios


def examine(settings: Settings) -> Iterator[str]:
    """One line for each thing looked at. Raises what opening the database raises, each with what to do."""
    yield f"settings file   {SETTINGS_FILE if SETTINGS_FILE.exists() else 'none'}"
    yield f"data folder     {settings.data_dir.resolve()}"
    yield f"port            {settings.port}"
    yield f"feed            {settings.feed}"
    yield f"owner token     {'set (masked)' if settings.owner_token else 'made at the first start'}"
    yield f"database        {shown_url(settings.database) if settings.database else 'embedded PostgreSQL in the data folder'}"
    with open_database(settings.data_dir, settings.database) as engine:
        yield f"connection      {shown_url(engine.url.render_as_string(hide_password=True))}"
        with engine.connect() as connection:
            version = connection.exec_driver_sql("show server_version").scalar()
            durable = connection.exec_driver_sql(
                "select current_setting('fsync'), current_setting('full_page_writes')"
            ).one()
        yield f"server          PostgreSQL {version}, fsync {durable[0]}, full_page_writes {durable[1]}"
        yield f"portfolios      {len(all_portfolios(engine))}"
