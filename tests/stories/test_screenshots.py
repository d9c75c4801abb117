"""The screenshots in the documents are taken from the current pages; `make generate` takes outdated ones again."""

import pytest

from tests.support.documents.screenshots import FOLDER, SOURCES, hash_file, source_hash


@pytest.mark.parametrize("picture", SOURCES)
def test_screenshot_is_of_the_current_page(picture: str) -> None:
    """The hash kept beside the picture is that of the page's source."""
    assert (FOLDER / picture).read_bytes().startswith(b"\x89PNG")
    assert hash_file(picture).read_text(encoding="utf-8").strip() == source_hash(picture)
