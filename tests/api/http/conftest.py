"""A new Daybook for a test, and one that the tests of a module share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import fresh_database
from tests.support.api_system import Daybook, open_daybook


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook."""
    with open_daybook(database_url, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared_daybook(cluster_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daybook]:
    """A Daybook after two minutes of its market, for tests that only read or use portfolios of their own."""
    with fresh_database(cluster_url, template) as url, open_daybook(url, tmp_path_factory.mktemp("daybook")) as running:
        running.pass_seconds(2)
        yield running
