"""Signed checkpoints: position and hash of every portfolio's log at one time, kept outside the database.

A hash chain alone does not reveal events removed from its end, nor a missing log. A checkpoint lists all portfolios and
is signed with Ed25519, so that it cannot be forged without the key.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ledger.errors import DaybookError
from ledger.log.envelope import canonical_json
from ledger.log.event_log import BrokenLog, Head
from ledger.values import UtcTime

KEY_FILE: Final = "checkpoint-key"
Hex = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]+$")]


class BadCheckpoint(DaybookError):
    """A checkpoint is unusable: unreadable, changed after signing, or signed with another key."""


class LoggedPosition(BaseModel):
    """The hash at a portfolio's last position."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    portfolio_id: UUID
    position: Annotated[int, Field(strict=True, ge=0)]
    hash: Annotated[Hex, Field(min_length=64, max_length=64)]


class Checkpoint(BaseModel):
    """The heads of all logs at `made_at` (UTC), signed. `public_key` and `signature` are Ed25519, in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["daybook-checkpoint-1"] = "daybook-checkpoint-1"
    made_at: UtcTime
    portfolios: tuple[LoggedPosition, ...]
    public_key: Annotated[Hex, Field(min_length=64, max_length=64)]
    signature: Annotated[Hex, Field(max_length=128)] = ""

    def signed_text(self) -> str:
        """The signed text: all other fields as canonical JSON."""
        return canonical_json(self.model_dump(mode="json", exclude={"signature"}))


def make_checkpoint(heads: Iterable[tuple[UUID, Head]], made_at: UtcTime, key: Ed25519PrivateKey) -> Checkpoint:
    """Return a signed checkpoint of these logs."""
    positions = [LoggedPosition(portfolio_id=one, position=head.position, hash=head.hash.hex()) for one, head in heads]
    ordered = tuple(sorted(positions, key=lambda one: str(one.portfolio_id)))
    unsigned = Checkpoint(made_at=made_at, portfolios=ordered, public_key=key.public_key().public_bytes_raw().hex())
    return unsigned.model_copy(update={"signature": key.sign(unsigned.signed_text().encode()).hex()})


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """Return the content of a checkpoint file: one indented JSON object."""
    return json.dumps(checkpoint.model_dump(mode="json"), indent=2) + "\n"


def read_checkpoint_file(path: Path, trusted_key: str | None) -> Checkpoint:
    """Read a checkpoint file and verify its signature. Raises BadCheckpoint.

    `trusted_key` is the public key, in hex, that must have signed it; None accepts the key in the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        checkpoint = Checkpoint.model_validate_json(text)
    except OSError as error:
        raise BadCheckpoint(f"the checkpoint {path} cannot be read: {error.strerror}") from None
    except (ValidationError, UnicodeDecodeError):
        raise BadCheckpoint(f"{path} is not a checkpoint file written by `daybook checkpoint`") from None
    if trusted_key is not None and checkpoint.public_key != trusted_key:
        raise BadCheckpoint(f"the checkpoint {path} was signed with another key than this installation's")
    changed = BadCheckpoint(f"the checkpoint {path} was changed after it was signed")
    if json.loads(text) != checkpoint.model_dump(mode="json"):
        raise changed  # equal values in another notation, which the signature does not cover
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(checkpoint.public_key))
        key.verify(bytes.fromhex(checkpoint.signature), checkpoint.signed_text().encode())
    except (InvalidSignature, ValueError):
        raise changed from None
    return checkpoint


def behind_checkpoint(
    portfolio_id: UUID, head: Head | None, at_position: bytes | None, wanted: Head
) -> BrokenLog | None:
    """Return the error if the log no longer contains `wanted`, else None. `at_position` is its hash there today."""
    if head is None or head.position < wanted.position:
        reason = f"events are missing at the end: the checkpoint has position {wanted.position}"
        return BrokenLog(portfolio_id, 1 if head is None else head.position + 1, reason)
    if at_position != wanted.hash:
        reason = "the log was rewritten at or before this position: the checkpoint has another hash"
        return BrokenLog(portfolio_id, wanted.position, reason)
    return None


def signing_key(data_dir: Path) -> Ed25519PrivateKey:
    """Return the installation's key, created on first use in a file only its user can read. Raises BadCheckpoint."""
    path = data_dir / KEY_FILE
    if not path.exists():
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw().hex())
        draft.rename(path)
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except ValueError:
        reason = f"the key {path} cannot be read"
        raise BadCheckpoint(f"{reason}: restore it from a backup, or remove it to create a new one") from None


def known_public_key(data_dir: Path) -> str | None:
    """Return the installation's public key in hex, or None before a key exists."""
    return signing_key(data_dir).public_key().public_bytes_raw().hex() if (data_dir / KEY_FILE).exists() else None


def positions_of(checkpoint: Checkpoint) -> Sequence[tuple[UUID, Head]]:
    """Return the heads in the checkpoint."""
    return [(one.portfolio_id, Head(one.position, bytes.fromhex(one.hash))) for one in checkpoint.portfolios]
