"""docs/openapi.json is the OpenAPI document that the program serves."""

import json
from pathlib import Path
from typing import Final

import pytest

from tests.support.api_system import open_daybook
from tests.support.documents.generated import check_generated_file

FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


@pytest.mark.generated
def test_openapi_file_is_current(database_url: str, tmp_path: Path) -> None:
    with open_daybook(database_url, tmp_path) as daybook:
        document = daybook.client.get("/api/schema/openapi.json").json()

    check_generated_file(FILE, json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
