"""The trades used for measurements: four assets, all sizes, fees in the quote currency, the same in every run."""

import csv
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final
from uuid import UUID

from ledger.events import Event, TradeExecuted
from ledger.events.fields import Fee
from ledger.log.envelope import EncodedEvent, NewEvent, canonical_json
from ledger.values import Asset, Instrument, Side, decimal_text, new_id

START: Final = datetime(2020, 1, 1, tzinfo=UTC)
ASSETS: Final = ("BTC", "ETH", "SOL", "AAPL")


def fields_of(number: int) -> dict[str, str]:
    """Trade `number` as texts. Buys are slightly more frequent than sells."""
    dice = random.Random(number)
    return {
        "instrument": f"{dice.choice(ASSETS)}-USD",
        "side": "buy" if dice.random() < 0.52 else "sell",
        "quantity": decimal_text(Decimal(dice.randrange(1, 10**9)).scaleb(-8)),
        "price": decimal_text(Decimal(dice.randrange(1, 10**7)).scaleb(-2)),
        "fee": decimal_text(Decimal(dice.randrange(1, 10**6)).scaleb(-4)),
    }


def trade(number: int) -> TradeExecuted:
    """Trade `number` as an event."""
    fields = fields_of(number)
    return TradeExecuted(
        account="paper",
        venue="bench",
        venue_trade_id=str(number),
        instrument=Instrument(fields["instrument"]),
        side=Side(fields["side"]),
        quantity=Decimal(fields["quantity"]),
        price=Decimal(fields["price"]),
        fees=(Fee(asset=Asset("USD"), amount=Decimal(fields["fee"])),),
        quote_rate=Decimal(1),
        triggered_by="bot:bench",
    )


def new(event: Event, number: int) -> NewEvent:
    """The event as a new one, one second after its predecessor."""
    return NewEvent(event, fresh_id := new_id(), time_of(number), "bench", fresh_id)


def encoded(number: int) -> EncodedEvent:
    """Trade `number`, encoded."""
    fields = fields_of(number)
    payload = canonical_json(
        {
            "account": "paper",
            "fees": [{"amount": fields.pop("fee"), "asset": "USD"}],
            "quote_rate": "1",
            "triggered_by": "bot:bench",
            "venue": "bench",
            "venue_trade_id": str(number),
            **fields,
        }
    )
    fresh_id: UUID = new_id()
    return EncodedEvent(
        fresh_id, TradeExecuted.type, TradeExecuted.version, time_of(number), "bench", fresh_id, None, payload
    )


def time_of(number: int) -> datetime:
    return START + timedelta(seconds=number)


def write_csv(path: Path, trades: int) -> None:
    """Write a CSV file of trades."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "time", "instrument", "side", "quantity", "price", "fee", "account"])
        writer.writeheader()
        writer.writerows(_csv_rows(trades))


def _csv_rows(trades: int) -> Iterator[dict[str, str]]:
    for number in range(trades):
        yield {
            "id": str(number),
            "time": f"{time_of(number):%Y-%m-%dT%H:%M:%SZ}",
            "account": "paper",
            **fields_of(number),
        }
