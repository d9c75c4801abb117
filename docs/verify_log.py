#!/usr/bin/env python3
"""Verifies an exported log with nothing but the standard library and this file.

    python3 verify_log.py EVENTS.jsonl [CHECKPOINT.json]

EVENTS.jsonl is what `daybook export events` wrote: one event a line, of one portfolio or of many. Checked are the
positions (no gap), the hash chain from the first event on, and with a checkpoint its Ed25519 signature (RFC 8032) and
that every log it names still holds what it saw. Exit code 0: all is well. 4: broken, and the first place is named.
1: a file cannot be read.
"""

import hashlib
import json
import sys
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

TAG = b"daybook-1"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FIELDS = {
    "portfolio_id", "position", "event_id", "type", "version", "occurred_at", "recorded_at", "actor", "correlation_id",
    "causation_id", "payload", "metadata", "hash",
}  # fmt: skip


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        hashes = verified_log(sys.argv[1])
        if len(sys.argv) == 3:
            verify_checkpoint(sys.argv[2], hashes)
    except Broken as broken:
        print(f"BROKEN: {broken}")
        sys.exit(4)
    except (OSError, UnicodeDecodeError) as unreadable:
        sys.exit(f"{unreadable}: name a file that daybook export events or daybook checkpoint wrote")
    for portfolio, known in sorted(hashes.items()):
        print(f"OK: portfolio {portfolio}, {len(known)} events, hash {known[-1].hex()}")


class Broken(Exception):
    pass


def verified_log(path: str) -> dict[str, list[bytes]]:
    """The hash at every position of every portfolio."""
    hashes: dict[str, list[bytes]] = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            event = event_of(number, line)
            known = hashes.setdefault(event["portfolio_id"], [])
            where = f"portfolio {event['portfolio_id']}, position {len(known) + 1}"
            if event["position"] != len(known) + 1:
                raise Broken(f"{where}: the event is missing (the next one is at {event['position']})")
            previous = known[-1] if known else hashlib.sha256(TAG + UUID(event["portfolio_id"]).bytes).digest()
            if event_hash(previous, event) != bytes.fromhex(event["hash"]):
                raise Broken(f"{where}: the event does not match its hash")
            known.append(bytes.fromhex(event["hash"]))
    return hashes


def event_of(number: int, line: str) -> dict[str, Any]:
    """The event that a line holds."""
    try:
        event: dict[str, Any] = json.loads(line)
        if event.keys() >= FIELDS:
            return event
    except (AttributeError, ValueError):
        pass
    raise Broken(f"line {number}: this is no event, or not a whole one")


def event_hash(previous: bytes, event: dict[str, str | int | None]) -> bytes:
    """sha256 of the hash before and of every field behind its length."""
    cause = event["causation_id"]
    fields = (
        TAG,
        UUID(str(event["portfolio_id"])).bytes,
        int(event["position"] or 0).to_bytes(8, "big"),
        UUID(str(event["event_id"])).bytes,
        str(event["type"]).encode(),
        int(event["version"] or 0).to_bytes(2, "big"),
        microseconds(str(event["occurred_at"])),
        microseconds(str(event["recorded_at"])),
        str(event["actor"]).encode(),
        UUID(str(event["correlation_id"])).bytes,
        UUID(str(cause)).bytes if cause else b"",
        str(event["payload"]).encode(),
        str(event["metadata"]).encode(),
    )
    return hashlib.sha256(previous + b"".join(len(field).to_bytes(4, "big") + field for field in fields)).digest()


def microseconds(text: str) -> bytes:
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return ((time - EPOCH) // timedelta(microseconds=1)).to_bytes(8, "big", signed=True)


def verify_checkpoint(path: str, hashes: dict[str, list[bytes]]) -> None:
    with open(path, encoding="utf-8") as file:
        checkpoint = json.load(file)
    signature = bytes.fromhex(checkpoint.pop("signature"))
    text = json.dumps(checkpoint, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if not signed(bytes.fromhex(checkpoint["public_key"]), text.encode(), signature):
        raise Broken(f"{path}: the checkpoint was changed after it was signed")
    for seen in checkpoint["portfolios"]:
        known = hashes.get(seen["portfolio_id"], [])
        if len(known) < seen["position"]:
            raise Broken(f"portfolio {seen['portfolio_id']}, position {len(known) + 1}: events are missing at the end")
        if seen["position"] and known[seen["position"] - 1].hex() != seen["hash"]:
            raise Broken(f"portfolio {seen['portfolio_id']}, position {seen['position']}: the log was rewritten")
    print(f"OK: checkpoint of {checkpoint['made_at']}, signed with {checkpoint['public_key']}")


# --- Ed25519 verification as in RFC 8032, section 5.1.7 ---------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int, int, int]


def signed(public_key: bytes, message: bytes, signature: bytes) -> bool:
    key, r = decompressed(public_key), decompressed(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or key is None or r is None or s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % ORDER
    left, right = times(s, BASE), added(r, times(h, key))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


def added(a: Point, b: Point) -> Point:
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    return ((f - e) * (h - g) % P, (h + g) * (f + e) % P, (h - g) * (h + g) % P, (f - e) * (f + e) % P)


def times(scalar: int, point: Point) -> Point:
    result: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = added(result, point)
        point, scalar = added(point, point), scalar >> 1
    return result


def decompressed(data: bytes) -> Point | None:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = root_of_x(y, sign) if y < P and len(data) == 32 else None
    return None if x is None else (x, y, 1, x * y % P)


def root_of_x(y: int, sign: int) -> int | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


_base = decompressed((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
assert _base is not None
BASE: Point = _base

if __name__ == "__main__":
    main()
