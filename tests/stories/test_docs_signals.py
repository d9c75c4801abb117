"""docs/webhooks.md and docs/freqtrade.md agree with the program; their examples are run."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from api.http.schemas import NewSignal
from api.http.webhooks import Webhooks
from api.runtime.keys import Keys
from api.runtime.scopes import SCOPES
from api.runtime.settings import FreqtradeSettings, load_settings
from ledger.values import Instrument, time_text
from signals.inbound.freqtrade import edges, listener
from signals.inbound.freqtrade.frames import SIDES
from tests.support.api_system import Daybook, open_daybook

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
WEBHOOKS: Final = (DOCS / "webhooks.md").read_text(encoding="utf-8")
FREQTRADE: Final = (DOCS / "freqtrade.md").read_text(encoding="utf-8")


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook, a few minutes of market time later."""
    with open_daybook(database_url, tmp_path) as running:
        running.pass_seconds(3)
        yield running


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)


def names(page: str, first: str) -> set[str]:
    """The names in backquotes in the first column of the table with this first heading."""
    lines = page[page.index(f"| {first} |") :].split("\n\n", 1)[0].splitlines()[2:]
    return {name for line in lines for name in re.findall(r"`([^`]+)`", line.strip("|").split("|")[0])}


def now(daybook: Daybook) -> str:
    return time_text(daybook.system.market_clock())


def test_signal_example_is_accepted(daybook: Daybook) -> None:
    """With a key of the documented scope; the tables list every field and scope."""
    keys: Keys = daybook.client.app.state.api_keys
    token = keys.issue("model", ("signal:emit",), None)[0]
    (example,) = blocks(WEBHOOKS, "sh")
    words = shlex.split(example.replace("$DAYBOOK_KEY", token).replace("ASOF", now(daybook)))
    headers = dict(line.split(": ", 1) for word, line in pairwise(words) if word == "-H")
    body = dict(pairwise(words))["-d"]

    answer = daybook.send("POST", "/api/v1/signals/", headers=headers, content=body)

    assert answer.status_code == 201, answer.text
    assert answer.json()["bot_id"] == "api:model/trend"
    assert names(WEBHOOKS, "field") == set(NewSignal.model_fields)
    assert names(WEBHOOKS, "scope") == set(SCOPES)


def test_signature_example_is_accepted(daybook: Daybook, tmp_path: Path) -> None:
    (example,) = blocks(WEBHOOKS, "python")
    (tmp_path / "signing.py").write_text(example, encoding="utf-8")
    spec = spec_from_file_location("signing", tmp_path / "signing.py")
    assert spec is not None
    assert spec.loader is not None
    signing = module_from_spec(spec)
    spec.loader.exec_module(signing)
    hooks: Webhooks = daybook.client.app.state.webhooks
    secret = hooks.add("model", "signal", {})
    body = json.dumps({"product_id": "BTC-USD", "asof": now(daybook), "score": "0.6"}).encode()

    answer = daybook.send("POST", "webhooks/model", headers=signing.signed_headers(secret, body), content=body)

    assert answer.status_code == 201, answer.text


def test_tradingview_example_is_accepted(daybook: Daybook) -> None:
    """With the placeholders replaced as TradingView does."""
    hooks: Webhooks = daybook.client.app.state.webhooks
    secret = hooks.add("chart", "tradingview", {"BTCUSD": Instrument("BTC-USD")}, passphrase=True)
    (example,) = blocks(WEBHOOKS, "json")
    filled = {"ticker": "BTCUSD", "strategy.order.action": "sell", "timenow": now(daybook), "close": "50000.5"}
    body = re.sub(r"\{\{([\w.]+)\}\}", lambda found: filled.get(found[1], "exit"), example).replace("SECRET", secret)

    answer = daybook.send("POST", "webhooks/chart", content=body)

    assert (answer.status_code, answer.json()["score"]) == (201, "-1")


def test_freqtrade_examples_agree_with_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """daybook.toml is read, agrees with freqtrade's configuration, and the table lists every field."""
    (toml,), (config,) = blocks(FREQTRADE, "toml"), blocks(FREQTRADE, "json")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "daybook.toml").write_text(toml, encoding="utf-8")
    found, theirs = load_settings().freqtrade, json.loads(config)
    server = theirs["api_server"]

    assert found is not None
    assert found.url == f"http://{server['listen_ip_address']}:{server['listen_port']}"
    assert [found.username, found.password.get_secret_value()] == [server["username"], server["password"]]
    assert found.ws_token.get_secret_value() == server["ws_token"]
    assert set(found.pairs) == set(theirs["exchange"]["pair_whitelist"])
    assert (theirs["dry_run"], theirs["max_open_trades"]) == (True, 0)
    assert names(FREQTRADE, "field") == set(FreqtradeSettings.model_fields)
    assert set(SIDES) <= names(FREQTRADE, "column")
    assert tomllib.loads(toml)["feed"].startswith("ccxt:")


def test_freqtrade_page_lists_only_reasons_of_the_program() -> None:
    found = re.findall(r"`(\w+)`", FREQTRADE[FREQTRADE.index("by reason:") :].split("\n\n", 1)[0])
    program = "".join(Path(module.__file__ or "").read_text() for module in (edges, listener))

    assert len(found) == 11
    assert [name for name in found if f'"{name}"' not in program] == []
