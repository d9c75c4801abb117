"""Translates bots (registered, configured, stopped) and their signals (expired at once). Pure."""

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from pydantic import ValidationError

from ledger.events import BotConfigured, BotRegistered, SignalEmitted, SignalExpired
from ledger.events.fields import RuleChecked, SignalPart
from ledger.imports.facts import sentences
from ledger.values import ZERO, Instrument, time_text
from migrations.legacy.read.cells import Row, Unreadable, decimal_in, json_object, moment, number, shown, word
from migrations.legacy.translate.bot_settings import NAMES, WEIGHTS, bot_settings
from migrations.legacy.translate.decisions import Decided
from migrations.legacy.translate.outcomes import Context, Fate, Staged, Translation, event_id, event_of_row, origin
from migrations.legacy.translate.rows import Undecided, instrument_of

KIND: Final = "combined"
BOT_VERSION: Final = "1"
TIMEFRAME: Final = "1m"
"""The legacy system evaluated its bots every minute and stored no timeframe."""
PLACES: Final = Decimal("0.000001")
# Not to be reworded: a repeated import compares the stored payloads.
EXPIRED: Final = RuleChecked(
    rule="imported", passed=False, reason="told before the move: history is never traded", numbers={}
)


def bot_name(legacy_id: str) -> str:
    """Return the id of the imported bot."""
    return f"legacy-{legacy_id[:60]}"


def product_of_bot(row: Row) -> str:
    """Return the product that the bot trades, "" if unknown."""
    text = (word(row, "product_id") or word(row, "pair")).upper()
    return text if instrument_of(text) else ""


def translated_bot(context: Context, key: str, given: Row, decided: Decided) -> Translation:
    """Translate a bot: registered when it was created, configured when it was last changed, not started."""
    row: Row = {**given, **decided}
    if decided.get("action") == "archive":
        return Translation([Fate("bots", key, "archived", "decided: not registered")])
    try:
        product = product_of_bot(row)
        if not product:
            raise Undecided(f"pair: {shown(row.get('pair'))} is not an instrument such as BTC-USD")
        made = moment(row, "created_at") or moment(row, "updated_at")
        if made is None:
            raise Undecided("created_at and updated_at are missing")
        changed = max(moment(row, "updated_at") or made, made)
        parameters, settings, notes = bot_settings(row)
        registered = BotRegistered(
            bot_id=bot_name(word(row, "id")),
            kind=KIND,
            bot_version=BOT_VERSION,
            instrument=Instrument(product),
            timeframe=TIMEFRAME,
            parameters=parameters,
        )
        configured = BotConfigured(bot_id=registered.bot_id, parameters=parameters)
    except (Unreadable, Undecided) as error:
        return Translation([Fate("bots", key, "quarantined", str(error))])
    except ValidationError as error:
        return Translation([Fate("bots", key, "quarantined", sentences(error))])
    if word(row, "status").upper() == "RUNNING":
        notes.append("the bot was running: imported stopped")
    metadata = origin(
        context, "bots", key, given, settings=settings, notes=notes, score_negated=True, decided=dict(decided)
    )
    ids = (
        event_id(context.portfolio_id, "bots", key),
        event_id(context.portfolio_id, "bots", key, "configured", time_text(changed), parameters),
    )
    events = ((registered, ids[0], made), (configured, ids[1], changed))
    return Translation(
        [Fate("bots", key, "imported", flags=tuple(notes), events=ids)],
        [
            Staged("bots", key, 0, context.portfolio_id, "", event_of_row(event, id_, at, metadata, "bots", key))
            for event, id_, at in events
        ],
    )


def translated_signal(context: Context, key: str, given: Row, decided: Decided) -> Translation:
    """Translate a past signal: score negated, expired at once so that it is never traded."""
    table = "bot_signal_history"
    row: Row = {**given, **decided}
    if decided.get("action") == "archive":
        return Translation([Fate(table, key, "archived", "decided: kept without a signal")])
    try:
        event, asof, notes = _signal(context, row)
    except (Unreadable, Undecided) as error:
        return Translation([Fate(table, key, "quarantined", str(error))])
    except ValidationError as error:
        return Translation([Fate(table, key, "quarantined", sentences(error))])
    metadata = origin(context, table, key, given, notes=notes, score_negated=True, decided=dict(decided))
    id_ = event_id(context.portfolio_id, table, key)
    expired_id = event_id(context.portfolio_id, table, key, "expired")
    expired = SignalExpired(signal_id=id_, rules=(EXPIRED,))
    origin_only = origin(context, table, key, {})
    row_id = given.get("id")
    number_of = row_id if isinstance(row_id, int) else 0
    return Translation(
        [Fate(table, key, "imported", flags=tuple(notes), events=(id_, expired_id))],
        [
            Staged(table, key, number_of, context.portfolio_id, "", event_of_row(one, one_id, asof, about, table, key))
            for one, one_id, about in ((event, id_, metadata), (expired, expired_id, origin_only))
        ],
    )


def _signal(context: Context, row: Row) -> tuple[SignalEmitted, datetime, list[str]]:
    notes: list[str] = []
    bot = word(row, "bot_id")
    product = word(row, "product_id").upper() or context.bots.get(bot, "")
    if not bot:
        raise Undecided("bot_id is missing")
    if not product:
        raise Undecided(f"bot {bot[:20]} no longer exists, and the row has no product_id")
    asof, price, combined = moment(row, "timestamp"), number(row, "price"), number(row, "combined_score")
    if asof is None or price is None or combined is None:
        missing = [
            name
            for name, value in (("timestamp", asof), ("price", price), ("combined_score", combined))
            if value is None
        ]
        raise Undecided(f"missing: {', '.join(missing)}")
    score = (-combined).quantize(PLACES, rounding=ROUND_HALF_EVEN) or ZERO
    action = word(row, "action").lower()
    if (action == "buy" and score <= 0) or (action == "sell" and score >= 0):
        notes.append(f"action {action} contradicts the negated score {score}")
    confidence = number(row, "confidence")
    if confidence is None:
        notes.append("confidence is missing: imported as 0")
    parts, fault = _parts(row)
    notes += [fault] if fault else []
    instrument = instrument_of(product)
    if instrument is None:
        raise Undecided(f"product_id: {shown(product)} is not an instrument such as BTC-USD")
    event = SignalEmitted(
        bot_id=bot_name(bot),
        bot_version=BOT_VERSION,
        parameters_hash="legacy",
        instrument=instrument,
        asof=asof,
        price=price,
        score=score,
        confidence=(confidence or ZERO).quantize(PLACES),
        parts=parts,
        note=f"legacy: {action}"[:100] if action else "legacy",
    )
    return event, asof, notes


def _parts(row: Row) -> tuple[tuple[SignalPart, ...], str]:
    """Return the readable components of the score, each negated, and a note on unreadable ones."""
    given, fault = json_object(row, "signal_scores")
    found = []
    for name, entry in given.items():
        score = decimal_in(entry.get("score") if isinstance(entry, dict) else entry)
        weight = decimal_in(entry.get("weight")) if isinstance(entry, dict) else None
        kind = NAMES.get(name.lower(), name.lower())
        if score is None or (weight is not None and weight < 0):
            fault = fault or f"signal_scores: {shown(name)} has no score"
            continue
        default = Decimal(repr(WEIGHTS.get(kind, 0.0)))
        found.append(
            SignalPart(
                name=kind[:100] or "part",
                score=(-score).quantize(PLACES) or ZERO,
                weight=(default if weight is None else weight).quantize(PLACES),
            )
        )
    return tuple(found), fault
