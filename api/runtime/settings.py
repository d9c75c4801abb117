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
"""Stands between the name of a table and that of a setting in it: DAYBOOK_FREQTRADE__URL."""


class BadSettings(DaybookError):
    """A setting is wrong; the sentence names it and what to do."""


def _sendable(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", token.get_secret_value()):
        raise ValueError("it cannot be sent in a header")
    return token


def _neighbour(url: str) -> str:
    if not re.fullmatch(
        r"(http://(127\.0\.0\.1|localhost|\[::1\])|https://[A-Za-z0-9.-]+)(:\d{1,5})?/?", url, re.ASCII
    ):
        raise ValueError("it must be http://127.0.0.1:PORT on this machine, or https://HOST:PORT elsewhere")
    return url.removesuffix("/")


class FreqtradeSettings(BaseModel):
    """A freqtrade whose strategies are listened to. `pairs` says which of its pairs is which product of ours.

    Sides of short positions count with `shorts` only. `name` is how signals name this freqtrade.
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
            raise ValueError("two pairs are mapped to one product: they would speak over each other")
        return self


class NotifySettings(BaseModel):
    """Where a person is told of fills and halts: targets as apprise writes them, which may hold secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    urls: Annotated[tuple[SecretStr, ...], Field(min_length=1)]


class Settings(BaseSettings):
    """What a person may choose. Variables win over the file; unknown names in the file are refused."""

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
    def secrets(self) -> list[str]:
        """What must not stand in any log line."""
        listening = self.freqtrade
        more = [listening.password, listening.ws_token] if listening else []
        more += self.notify.urls if self.notify else ()
        return [self.token or "", self.database or "", *(secret.get_secret_value() for secret in more)]

    @property
    def token(self) -> str | None:
        """The owner's token in the clear, or None when it is made at the first start."""
        return self.owner_token.get_secret_value() if self.owner_token else None


WANTED: Final = {
    "data_dir": "the path of a folder",
    "port": "a whole number from 1 to 65535",
    "feed": "a market such as simulated, file:PATH?speed=60 or ccxt:coinbase",
    "portfolio": "the name of a portfolio that exists, of 1 to 100 characters",
    "owner_token": "1 to 200 letters, digits and signs of ASCII, without spaces",
    "database_url": "a URL such as postgresql://user:password@host:port/database",
    "notify": "a table with urls, a list of targets as apprise writes them",
    "freqtrade": "a table with url, username, password, ws_token and pairs",
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
    except SettingsError:
        raise BadSettings(f"{PREFIX}FREQTRADE is wrong: it must be a JSON object, or be left out") from None
    except UnicodeDecodeError:
        raise BadSettings(f"{SETTINGS_FILE} is not text in UTF-8: save it again with that encoding") from None
    except OSError as error:
        raise BadSettings(
            f"{SETTINGS_FILE} cannot be read: {error.strerror}: correct that or remove the file"
        ) from None


def unknown_variables() -> list[str]:
    """The environment's variables that begin like ours and are none of ours."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {f"{PREFIX}FREQTRADE{NESTED}{name.upper()}" for name in FreqtradeSettings.model_fields}
    known |= {f"{PREFIX}NOTIFY{NESTED}{name.upper()}" for name in NotifySettings.model_fields}
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name, below = str(first["loc"][0]), ".".join(str(part) for part in first["loc"][1:])
    if name not in WANTED:
        return f"{SETTINGS_FILE} knows no setting called {name!r}: there are {', '.join(WANTED)}"
    if name in ("freqtrade", "notify"):
        what = first["msg"].removeprefix("Value error, ")
        return f"the table [{name}] in {SETTINGS_FILE} is wrong: {below or name}: {what} (it must be {WANTED[name]})"
    return (
        f"{PREFIX}{name.upper()} is wrong: it must be {WANTED[name]}"
        f" (it is set by this variable, or as {name} in {SETTINGS_FILE})"
    )


def usable_folder(data_dir: Path) -> None:
    """The data folder is there and can be written. Raises BadSettings."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        reason = f"the data folder {data_dir} cannot be used ({error.strerror})"
        raise BadSettings(f"{reason}: make it writable, or name another one with DAYBOOK_DATA_DIR") from None
