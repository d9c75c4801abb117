"""Settings: DAYBOOK_* variables and daybook.toml, read once into one frozen object."""

import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from ledger.errors import DaybookError
from ledger.values import Instrument

SETTINGS_FILE: Final = Path("daybook.toml")
PREFIX: Final = "DAYBOOK_"
NESTED: Final = "__"
"""Separates the name of a table from that of its setting: DAYBOOK_FREQTRADE__URL."""


class BadSettings(DaybookError):
    """A setting is wrong."""


def _sendable(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", token.get_secret_value()):
        raise ValueError("must be 1 to 200 printable ASCII characters without spaces")
    return token


def _neighbour(url: str) -> str:
    if not re.fullmatch(
        r"(http://(127\.0\.0\.1|localhost|\[::1\])|https://[A-Za-z0-9.-]+)(:\d{1,5})?/?", url, re.ASCII
    ):
        raise ValueError("must be http://127.0.0.1:PORT on this machine, or https://HOST:PORT elsewhere")
    return url.removesuffix("/")


class FreqtradeSettings(BaseModel):
    """A freqtrade whose signals are used. `pairs` maps its pairs to products.

    Signals of short positions are used with `shorts` only. `name` identifies this freqtrade in signals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, AfterValidator(_neighbour)]
    username: Annotated[str, Field(min_length=1)]
    password: Annotated[SecretStr, Field(min_length=1)]
    ws_token: Annotated[SecretStr, AfterValidator(_sendable)]
    pairs: Annotated[dict[str, Instrument], Field(min_length=1)]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")] = "freqtrade"
    shorts: bool = False

    @model_validator(mode="after")
    def _one_pair_each(self) -> Self:
        if len(set(self.pairs.values())) < len(self.pairs):
            raise ValueError("two pairs map to one product, so their signals would conflict")
        return self


class NotifySettings(BaseModel):
    """Targets of notifications as apprise URLs, which may contain secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    urls: Annotated[tuple[SecretStr, ...], Field(min_length=1)]


class Settings(BaseSettings):
    """All settings. Variables override the file; unknown names in the file are refused."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter=NESTED, frozen=True, extra="forbid")

    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = Path(".daybook")
    port: Annotated[int, Field(ge=1, le=65535)] = 8321
    feed: str = "simulated"
    portfolio: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    owner_token: Annotated[SecretStr, AfterValidator(_sendable)] | None = None
    database_url: SecretStr | None = None
    freqtrade: FreqtradeSettings | None = None
    notify: NotifySettings | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        if value == "":
            raise ValueError("must not be empty")
        if isinstance(value, bool):
            raise ValueError("must not be true or false")
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
        """The database's URL in plain text, or None for the embedded server."""
        return self.database_url.get_secret_value() if self.database_url else None

    @property
    def secrets(self) -> list[str]:
        """Texts to mask in logs."""
        freqtrade = self.freqtrade
        more = [freqtrade.password, freqtrade.ws_token] if freqtrade else []
        more += self.notify.urls if self.notify else ()
        return [self.token or "", self.database or "", *(secret.get_secret_value() for secret in more)]

    @property
    def token(self) -> str | None:
        """The owner's token in plain text, or None if the first start creates it."""
        return self.owner_token.get_secret_value() if self.owner_token else None


FORMS: Final = {
    "data_dir": "the path of a folder",
    "port": "a whole number from 1 to 65535",
    "feed": "a market such as simulated, file:PATH?speed=60 or ccxt:coinbase",
    "portfolio": "the name of an existing portfolio, of 1 to 100 characters",
    "owner_token": "1 to 200 letters, digits and signs of ASCII, without spaces",
    "database_url": "a URL such as postgresql://user:password@host:port/database",
    "notify": "a table with urls, a list of apprise URLs",
    "freqtrade": "a table with url, username, password, ws_token and pairs",
}
"""The form of each setting."""


def load_settings() -> Settings:
    """Return the settings in force. Raises BadSettings for an unusable file or value."""
    try:
        return Settings()
    except ValidationError as error:
        raise BadSettings(_sentence(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{SETTINGS_FILE} is not TOML: {error}: correct that line or remove the file") from None
    except SettingsError:
        raise BadSettings(f"{PREFIX}FREQTRADE is wrong: it must be a JSON object, or be left out") from None
    except UnicodeDecodeError:
        raise BadSettings(f"{SETTINGS_FILE} is not text in UTF-8: save it again with that encoding") from None
    except OSError as error:
        raise BadSettings(
            f"{SETTINGS_FILE} cannot be read: {error.strerror}: correct that or remove the file"
        ) from None


def unknown_variables() -> list[str]:
    """Return the environment's DAYBOOK_ variables that are not settings."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {f"{PREFIX}FREQTRADE{NESTED}{name.upper()}" for name in FreqtradeSettings.model_fields}
    known |= {f"{PREFIX}NOTIFY{NESTED}{name.upper()}" for name in NotifySettings.model_fields}
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name, below = str(first["loc"][0]), ".".join(str(part) for part in first["loc"][1:])
    if name not in FORMS:
        return f"unknown setting {name!r} in {SETTINGS_FILE} (allowed: {', '.join(FORMS)})"
    if name in ("freqtrade", "notify"):
        reason = first["msg"].removeprefix("Value error, ")
        return f"the table [{name}] in {SETTINGS_FILE} is wrong: {below or name}: {reason} (it must be {FORMS[name]})"
    return (
        f"{PREFIX}{name.upper()} is wrong: it must be {FORMS[name]}"
        f" (set by this variable, or as {name} in {SETTINGS_FILE})"
    )


def usable_folder(data_dir: Path) -> None:
    """Create the data folder if it is missing. Raises BadSettings if it cannot be written."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        reason = f"the data folder {data_dir} cannot be used ({error.strerror})"
        raise BadSettings(f"{reason}: make it writable, or choose another with DAYBOOK_DATA_DIR") from None
