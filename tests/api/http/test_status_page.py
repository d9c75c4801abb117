"""The status page: what can be known about it without a browser."""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.http.app import PAGE
from tests.support.api_system import Daybook, open_daybook


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook."""
    with open_daybook(database_url, tmp_path) as running:
        yield running


def test_the_page_holds_no_data_and_needs_no_token(daybook: Daybook) -> None:
    """Anyone on this machine gets the page; it says PAPER before it knows anything."""
    answer = daybook.client.get("/")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text == PAGE
    assert ">PAPER<" in PAGE


def test_only_the_pages_own_script_may_run(daybook: Daybook) -> None:
    """The policy names the hashes of the script and the style that stand in the page, and lets nothing else through."""
    policy = daybook.client.get("/").headers["content-security-policy"]

    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert not re.findall(r"\s(on\w+|style|src|href)=\"(?!data:)", PAGE), (
        "no inline handler, no style, no foreign address"
    )


def test_the_page_writes_text_and_never_markup() -> None:
    """What comes from the interface is put in as text: a bot called <script> is shown, not run."""
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", PAGE)
    assert "textContent" in PAGE


def test_what_the_page_asks_for_is_there(daybook: Daybook) -> None:
    """Every path that the page's script fetches answers."""
    asked = re.findall(r'ask\("([^"]+)"(, \{ method: "POST" \})?\)', PAGE)

    assert len(asked) >= 5
    for path, is_post in asked:
        answer = daybook.post(path.removeprefix("/")) if is_post else daybook.get(path.removeprefix("/"))
        assert answer.status_code == 200, path


def test_the_page_can_be_read_and_used_without_a_mouse() -> None:
    """It has a language, a title, a label for its field, and every part that scrolls can be reached by keyboard."""
    assert '<html lang="en">' in PAGE
    assert "<title>Daybook</title>" in PAGE
    assert '<label for="token">' in PAGE
    assert PAGE.count('class="scroll"') == len(
        re.findall(r'class="scroll"[^>]* tabindex="0" role="region" aria-label=', PAGE)
    )
