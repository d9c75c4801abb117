"""The status page, as far as it can be tested without a browser."""

import base64
import hashlib
import re

from api.http.app import PAGE
from tests.support.api_system import Daybook


def test_status_page_is_served_without_a_token_and_without_data(shared_daybook: Daybook) -> None:
    """The page shows PAPER before anything is loaded."""
    answer = shared_daybook.client.get("/")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text == PAGE
    assert ">PAPER<" in PAGE


def test_status_page_policy_admits_only_its_own_script_and_style(shared_daybook: Daybook) -> None:
    """The content security policy lists their hashes and nothing else."""
    policy = shared_daybook.client.get("/").headers["content-security-policy"]

    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert not re.findall(r"\s(on\w+|style|src|href)=\"(?!data:)", PAGE), (
        "no inline handler, no style, no foreign address"
    )


def test_status_page_never_inserts_markup() -> None:
    """Values are inserted as text: a bot called <script> is shown, not run."""
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", PAGE)
    assert "textContent" in PAGE


def test_status_page_fetches_only_existing_paths(shared_daybook: Daybook) -> None:
    asked = re.findall(r'ask\("([^"]+)"(, \{ method: "POST" \})?\)', PAGE)

    assert len(asked) >= 5
    for path, is_post in asked:
        answer = shared_daybook.post(path.removeprefix("/")) if is_post else shared_daybook.get(path.removeprefix("/"))
        assert answer.status_code == 200, path


def test_status_page_is_accessible_without_a_mouse() -> None:
    """It has a language, a title and a label, and every scrollable part is reachable by keyboard."""
    assert '<html lang="en">' in PAGE
    assert "<title>Daybook</title>" in PAGE
    assert '<label for="token">' in PAGE
    assert PAGE.count('class="scroll"') == len(
        re.findall(r'class="scroll"[^>]* tabindex="0" role="region" aria-label=', PAGE)
    )
