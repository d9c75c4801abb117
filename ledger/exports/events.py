"""Events as JSON lines, for `docs/verify_log.py` and for safe keeping."""

from uuid import UUID

from ledger.log.envelope import Envelope, canonical_json
from ledger.values import time_text


def event_line(envelope: Envelope) -> str:
    """The envelope as one JSON object, with the exact stored texts and the hash in hex."""
    fields = {
        "portfolio_id": str(envelope.portfolio_id),
        "position": envelope.position,
        "event_id": str(envelope.event_id),
        "type": envelope.type,
        "version": envelope.version,
        "occurred_at": time_text(envelope.occurred_at),
        "recorded_at": time_text(envelope.recorded_at),
        "actor": envelope.actor,
        "correlation_id": str(envelope.correlation_id),
        "causation_id": _text(envelope.causation_id),
        "payload": envelope.payload,
        "metadata": envelope.metadata,
        "hash": envelope.hash.hex(),
    }
    return canonical_json(fields)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
