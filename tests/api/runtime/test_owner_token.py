"""The owner's token: made once, and stored as a hash only."""

import hashlib
from pathlib import Path

import pytest

from api.runtime.owner_token import HASH_FILE, owner_token_hash, remember_token


def test_owner_token_is_made_once_and_stored_as_a_hash(tmp_path: Path) -> None:
    """The file with the hash is readable by its user only."""
    token_hash, token = owner_token_hash(tmp_path, None)
    assert token is not None
    remember_token(tmp_path, token)

    assert owner_token_hash(tmp_path, None) == (token_hash, None)
    assert (tmp_path / HASH_FILE).read_text() == token_hash == hashlib.sha256(token.encode()).hexdigest()
    assert (tmp_path / HASH_FILE).stat().st_mode & 0o777 == 0o600
    assert len(token) >= 43, "256 bits"


def test_owner_token_is_made_again_when_it_was_never_shown(tmp_path: Path) -> None:
    """A start that ends before the token is shown leaves no hash behind."""
    _, unseen = owner_token_hash(tmp_path, None)
    _, shown = owner_token_hash(tmp_path, None)

    assert unseen is not None
    assert shown is not None
    assert unseen != shown


@pytest.mark.parametrize("left", [b"", b"6f", b"\xff" * 64, b"F" * 64])
def test_owner_token_is_made_again_when_the_hash_file_is_broken(tmp_path: Path, left: bytes) -> None:
    (tmp_path / HASH_FILE).write_bytes(left)

    _, token = owner_token_hash(tmp_path, None)
    assert token is not None
    remember_token(tmp_path, token)

    assert owner_token_hash(tmp_path, None) == (hashlib.sha256(token.encode()).hexdigest(), None)
    assert [path.name for path in tmp_path.iterdir()] == [HASH_FILE]


def test_owner_token_from_the_settings_is_not_stored(tmp_path: Path) -> None:
    assert owner_token_hash(tmp_path, "given") == (hashlib.sha256(b"given").hexdigest(), None)
    assert list(tmp_path.iterdir()) == []
