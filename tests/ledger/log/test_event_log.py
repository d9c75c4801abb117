"""The hash chain finds every change of a log, and reports the first position at which it shows."""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.log import event_log as chain
from ledger.log.envelope import Envelope
from ledger.log.event_log import BrokenLog, Head, MemoryLog, event_hash, genesis_hash, verified
from ledger.replay.fast.decode import FIELDS, Unverified, envelope_of, verified_raw
from tests.support.events import START, SteppingClock, Story, altered, realistic_batches

Hash = Callable[[bytes, Envelope], bytes]

STORY = Story("chain")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _whole() -> list[Envelope]:
    log = MemoryLog(SteppingClock())
    for batch in realistic_batches(STORY, 15):
        log.append(STORY.portfolio_id, batch)
    return list(log.read(STORY.portfolio_id))


WHOLE = _whole()
positions = st.integers(1, len(WHOLE))
NAMES = [field.name for field in fields(Envelope)]


def first_bad(envelopes: Sequence[Envelope], head: Head | None = None) -> int | None:
    """Return the first position at which these are not the complete log that ends at `head`; None when they are."""
    if chain.event_hash is event_hash:
        check_fast_verification(envelopes)
    try:
        found = list(verified(STORY.portfolio_id, envelopes))
    except BrokenLog as broken:
        return broken.position
    if head is not None and Head(found[-1].position, found[-1].hash) != head:
        return min(found[-1].position, head.position) + (found[-1].position != head.position)
    return None


def check_fast_verification(envelopes: Sequence[Envelope]) -> None:
    """Check that verifying raw database bytes accepts the same events as verifying envelopes."""
    fast, plain = [
        accepted(events)
        for events in (
            verified_raw(STORY.portfolio_id, map(raw_of, envelopes)),
            verified(STORY.portfolio_id, envelopes),
        )
    ]
    assert fast == plain


def accepted(events: Iterator[object]) -> tuple[int, int | None]:
    """Return the number of accepted events, and the position of the first rejected one, if any."""
    number = 0
    try:
        for _ in events:
            number += 1
    except (Unverified, BrokenLog) as error:
        return number, error.position
    return number, None


def raw_of(envelope: Envelope) -> bytes:
    """Return the envelope as the database sends it in bulk."""
    parts: list[bytes] = [
        b"daybook-1",
        envelope.portfolio_id.bytes,
        struct.pack(">q", envelope.position),
        envelope.event_id.bytes,
        envelope.type.encode(),
        struct.pack(">h", envelope.version),
        struct.pack(">q", (envelope.occurred_at - EPOCH) // timedelta(microseconds=1)),
        struct.pack(">q", (envelope.recorded_at - EPOCH) // timedelta(microseconds=1)),
        envelope.actor.encode(),
        envelope.correlation_id.bytes,
        envelope.causation_id.bytes if envelope.causation_id else b"",
        envelope.payload.encode(),
        envelope.metadata.encode(),
        envelope.hash,
    ]
    return FIELDS + b"".join(struct.pack(">I", len(part)) + part for part in parts)


def rechained(envelopes: Sequence[Envelope], hash_of: Hash = event_hash) -> list[Envelope]:
    """Return the envelopes at positions 1, 2, 3 … with valid hashes, as an attacker who knows the rule would write."""
    previous, made = genesis_hash(STORY.portfolio_id), list[Envelope]()
    for position, envelope in enumerate(envelopes, start=1):
        bare = replace(envelope, position=position)
        made.append(replace(bare, hash=hash_of(previous, bare)))
        previous = made[-1].hash
    return made


def with_value(envelope: Envelope, name: str, value: Any) -> Envelope:
    return replace(envelope, **{name: value})


@given(start=st.integers(0, len(WHOLE)))
def test_unchanged_log_passes(start: int) -> None:
    """An unchanged log passes, from its beginning and from any verified position."""
    known = Head(start, WHOLE[start - 1].hash) if start else None

    assert list(verified(STORY.portfolio_id, WHOLE[start:], known)) == WHOLE[start:]
    assert first_bad(WHOLE, Head(WHOLE[-1].position, WHOLE[-1].hash)) is None


def test_envelope_of_raw_bytes_is_the_envelope() -> None:
    """Decoding the bytes of a bulk read gives the envelope, field by field."""
    assert [envelope_of(raw_of(envelope)) for envelope in WHOLE] == WHOLE


@given(position=positions, name=st.sampled_from(NAMES))
def test_changed_field_is_found(position: int, name: str) -> None:
    """A change of any field of any event is found at that event."""
    envelope = WHOLE[position - 1]
    old = getattr(envelope, name)
    new = UUID(int=7) if old is None else bytes([old[0] ^ 1]) + old[1:] if isinstance(old, bytes) else altered(old)

    assert first_bad([*WHOLE[: position - 1], with_value(envelope, name, new), *WHOLE[position:]]) == position


@given(position=positions, data=st.data())
def test_flipped_bit_is_found(position: int, data: st.DataObject) -> None:
    """One flipped bit in a payload or its metadata is found at that event."""
    envelope = WHOLE[position - 1]
    name = data.draw(st.sampled_from(["payload", "metadata"]))
    text: str = getattr(envelope, name)
    place, bit = data.draw(st.integers(0, len(text) - 1)), data.draw(st.integers(0, 6))
    changed = text[:place] + chr(ord(text[place]) ^ (1 << bit)) + text[place + 1 :]

    assert first_bad([*WHOLE[: position - 1], with_value(envelope, name, changed), *WHOLE[position:]]) == position


@given(position=positions)
def test_removed_event_is_found(position: int) -> None:
    """A removed event is found at its position; a removed last one, against the head."""
    head = Head(WHOLE[-1].position, WHOLE[-1].hash)

    assert first_bad([*WHOLE[: position - 1], *WHOLE[position:]], head) == position


@given(kept=st.integers(1, len(WHOLE) - 1))
def test_truncated_log_is_found_only_with_the_head(kept: int) -> None:
    """A truncated log is a valid chain; a known head reveals the first missing position."""
    assert first_bad(WHOLE[:kept]) is None
    assert first_bad(WHOLE[:kept], Head(WHOLE[-1].position, WHOLE[-1].hash)) == kept + 1


@given(one=positions, other=positions)
def test_swapped_events_are_found(one: int, other: int) -> None:
    """Two swapped events are found at the earlier position, renumbered or not."""
    assume(one < other)
    swapped = list(WHOLE)
    swapped[one - 1], swapped[other - 1] = WHOLE[other - 1], WHOLE[one - 1]
    renumbered = [replace(envelope, position=position) for position, envelope in enumerate(swapped, start=1)]

    assert first_bad(swapped) == one
    assert first_bad(renumbered) == one


@given(position=positions, copied=positions)
def test_inserted_event_is_found(position: int, copied: int) -> None:
    """An inserted event is found at its position, also when all later ones are renumbered."""
    extra = replace(WHOLE[copied - 1], event_id=UUID(int=9), position=position)
    moved = [replace(envelope, position=envelope.position + 1) for envelope in WHOLE[position - 1 :]]

    assert first_bad([*WHOLE[: position - 1], extra, *moved]) == position


@given(position=positions, name=st.sampled_from(["payload", "actor", "occurred_at"]))
def test_change_with_recomputed_hash_is_found_at_the_next_event(position: int, name: str) -> None:
    """After recomputing one hash the change is found at the next event, or against the head."""
    previous = WHOLE[position - 2].hash if position > 1 else genesis_hash(STORY.portfolio_id)
    changed = with_value(WHOLE[position - 1], name, altered(getattr(WHOLE[position - 1], name)))
    changed = replace(changed, hash=event_hash(previous, changed))
    log = [*WHOLE[: position - 1], changed, *WHOLE[position:]]

    last = position == len(WHOLE)
    assert first_bad(log, Head(WHOLE[-1].position, WHOLE[-1].hash)) == (position if last else position + 1)


def test_full_rewrite_is_found_only_with_the_head() -> None:
    """A log rewritten from some event on is a valid chain; only a known head reveals it."""
    rewritten = rechained([*WHOLE[:5], *WHOLE[6:]])

    assert first_bad(rewritten) is None
    assert first_bad(rewritten, Head(WHOLE[-1].position, WHOLE[-1].hash)) is not None


def test_chain_depends_on_the_portfolio() -> None:
    """The same events form another chain in another portfolio, from the first hash on."""
    other = UUID(int=3)
    moved = [replace(envelope, portfolio_id=other) for envelope in WHOLE]

    with pytest.raises(BrokenLog, match=f"{other}, position 1"):
        list(verified(other, moved))


@given(left=st.text(max_size=9), right=st.text(max_size=9), split=st.integers(0, 18))
def test_moving_text_between_fields_changes_the_hash(left: str, right: str, split: int) -> None:
    """The same text divided differently between two fields has another hash."""
    whole = (left + right).encode("utf-8", "replace").decode()
    envelope = replace(WHOLE[0], payload=whole[: len(left)], metadata=whole[len(left) :])
    moved = replace(WHOLE[0], payload=whole[:split], metadata=whole[split:])

    same = envelope.payload == moved.payload
    assert (event_hash(b"\0" * 32, envelope) == event_hash(b"\0" * 32, moved)) == same


def test_event_hash_follows_the_documented_format() -> None:
    """Computing the hash from the documented format, field by field, gives the same value, which never changes."""
    envelope = Envelope(
        portfolio_id=UUID(int=1),
        position=2,
        event_id=UUID(int=3),
        type="TradingHalted",
        version=1,
        occurred_at=datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        recorded_at=datetime(2026, 1, 2, 9, 0, 0, 7, UTC),
        actor="Zoë",
        correlation_id=UUID(int=4),
        causation_id=None,
        payload='{"reason":"€"}',
        metadata="{}",
        hash=b"",
    )
    parts: list[bytes] = [
        b"daybook-1",
        bytes(15) + b"\1",
        struct.pack(">q", 2),
        bytes(15) + b"\3",
        b"TradingHalted",
        struct.pack(">h", 1),
        struct.pack(">q", -1),
        struct.pack(">q", 1767344400000007),
        "Zoë".encode(),
        bytes(15) + b"\4",
        b"",
        '{"reason":"€"}'.encode(),
        b"{}",
    ]
    body = b"".join(struct.pack(">I", len(part)) + part for part in parts)

    assert event_hash(b"\7" * 32, envelope) == hashlib.sha256(b"\7" * 32 + body).digest()
    assert event_hash(b"\7" * 32, envelope).hex() == "0e741bf8794875dacd27f28f368f4066d7bc6ea036eb68d66e3b14cb948a70cc"
    assert genesis_hash(UUID(int=1)) == hashlib.sha256(b"daybook-1" + bytes(15) + b"\1").digest()


# --- planted bugs -----------------------------------------------------------------------------------------------------


def without_place(_previous: bytes, envelope: Envelope) -> bytes:
    return event_hash(b"", replace(envelope, position=0))


def without_previous(_previous: bytes, envelope: Envelope) -> bytes:
    return event_hash(b"", envelope)


def without_times(previous: bytes, envelope: Envelope) -> bytes:
    return event_hash(previous, replace(envelope, occurred_at=START))


def without_lengths(previous: bytes, envelope: Envelope) -> bytes:
    parts = [str(getattr(envelope, name)) for name in NAMES if name != "hash"]
    return hashlib.sha256(previous + "".join(parts).encode()).digest()


def swap(log: list[Envelope], _hash_of: Hash) -> list[Envelope]:
    return [*log[:3], replace(log[4], position=4), replace(log[3], position=5), *log[5:]]


def rewrite_one(log: list[Envelope], hash_of: Hash) -> list[Envelope]:
    changed = replace(log[3], actor="somebody else")
    return [*log[:3], replace(changed, hash=hash_of(log[2].hash, changed)), *log[4:]]


def date_back(log: list[Envelope], _hash_of: Hash) -> list[Envelope]:
    return [*log[:3], replace(log[3], occurred_at=altered(log[3].occurred_at)), *log[4:]]


def move_a_letter(log: list[Envelope], _hash_of: Hash) -> list[Envelope]:
    payload = log[3].payload
    return [*log[:3], replace(log[3], payload=payload[:-1], metadata=payload[-1] + log[3].metadata), *log[4:]]


@pytest.mark.parametrize(
    ("planted", "attack"),
    [
        (without_place, swap),
        (without_previous, rewrite_one),
        (without_times, date_back),
        (without_lengths, move_a_letter),
    ],
)
def test_weaker_hashes_miss_an_attack(
    monkeypatch: pytest.MonkeyPatch, planted: Hash, attack: Callable[[list[Envelope], Hash], list[Envelope]]
) -> None:
    """Planted: without any one part of the hash, an attack passes that the real chain finds."""
    assert first_bad(attack(WHOLE, event_hash)) is not None

    weak = rechained(WHOLE, planted)
    monkeypatch.setattr(chain, "event_hash", planted)
    assert first_bad(weak) is None
    assert first_bad(attack(weak, planted)) is None
