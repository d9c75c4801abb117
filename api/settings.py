"""Settings: DAYBOOK_* variables and daybook.toml, read once into one frozen object."""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

SETTINGS_FILE: Final = Path("daybook.toml")
PREFIX: Final = "DAYBOOK_"


class BadSettings(Exception):
    """A setting is wrong; the sentence names it and what to do."""


def _sendable(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", token.get_secret_value()):
        raise ValueError("it cannot be sent in a header")
    return token


class Settings(BaseSettings):
    """What a person may choose. Variables win over the file; unknown names in the file are refused."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = Path(".daybook")
    port: Annotated[int, Field(ge=1, le=65535)] = 8321
    feed: str = "simulated"
    owner_token: Annotated[SecretStr, AfterValidator(_sendable)] | None = None
    database_url: SecretStr | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        if value == "":
            raise ValueError("it is empty")
        if isinstance(value, bool):
            raise ValueError("it is neither true nor false")
        return value

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

    @property
    def token(self) -> str | None:
        """The owner's token in the clear, or None when it is made at the first start."""
        return self.owner_token.get_secret_value() if self.owner_token else None


WANTED: Final = {
    "data_dir": "the path of a folder",
    "port": "a whole number from 1 to 65535",
    "feed": "a market such as simulated, file:PATH?speed=60 or ccxt:coinbase",
    "owner_token": "1 to 200 letters, digits and signs of ASCII, without spaces",
    "database_url": "a URL such as postgresql://user:password@host:port/database",
}
"""What each setting must be."""


def load_settings() -> Settings:
    """The settings in force. Raises BadSettings with one sentence for a file or a value that cannot be used."""
    try:
        return Settings()
    except ValidationError as error:
        raise BadSettings(_sentence(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{SETTINGS_FILE} is not TOML: {error}: correct that line or remove the file") from None
    except UnicodeDecodeError:
        raise BadSettings(f"{SETTINGS_FILE} is not text in UTF-8: save it again with that encoding") from None
    except OSError as error:
        raise BadSettings(
            f"{SETTINGS_FILE} cannot be read: {error.strerror}: correct that or remove the file"
        ) from None


def unknown_variables() -> list[str]:
    """The environment's variables that begin like ours and are none of ours."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def _sentence(error: ValidationError) -> str:
    name = str(error.errors(include_url=False, include_input=False)[0]["loc"][0])
    if name not in WANTED:
        return f"{SETTINGS_FILE} knows no setting called {name!r}: there are {', '.join(WANTED)}"
    return (
        f"{PREFIX}{name.upper()} is wrong: it must be {WANTED[name]}"
        f" (it is set by this variable, or as {name} in {SETTINGS_FILE})"
    )
