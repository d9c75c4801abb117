"""Settings: DAYBOOK_* variables and daybook.toml, read once into one frozen object."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

SETTINGS_FILE = Path("daybook.toml")


class BadSettings(Exception):
    """A setting is wrong; the sentence names it and what to do."""


class Settings(BaseSettings):
    """What a person may choose. Variables win over the file; unknown names in the file are refused."""

    model_config = SettingsConfigDict(env_prefix="DAYBOOK_", frozen=True, extra="forbid")

    data_dir: Path = Path(".daybook")
    port: Annotated[int, Field(ge=1, le=65535)] = 8321
    feed: str = "simulated"
    owner_token: Annotated[SecretStr, Field(min_length=1, max_length=200)] | None = None
    database_url: SecretStr | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, SETTINGS_FILE)

    @property
    def database(self) -> str | None:
        """The database's URL in the clear, or None for the embedded one."""
        return self.database_url.get_secret_value() if self.database_url else None


def load_settings() -> Settings:
    """The settings in force. Raises BadSettings with one sentence for a file or a value that cannot be used."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise BadSettings(
            f"the setting {name} is wrong: {first['msg']} (set by DAYBOOK_{name.upper()} or in {SETTINGS_FILE})"
        ) from None
    except (OSError, ValueError) as error:
        raise BadSettings(f"{SETTINGS_FILE} cannot be read: {error}; correct it or remove it") from None
