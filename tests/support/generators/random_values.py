"""Random events of value of every kind, and their reversals, for property tests of folds."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from hypothesis import strategies as st

from ledger import events
from ledger.events import Event
from ledger.events.fields import Fee
from ledger.log.envelope import NewEvent
from ledger.values import Asset
from tests.support.generators.random_trades import BASE, any_trades, decimals

ASSETS: Final = ("BTC", "ETH", "EUR", "AAPL")
ACCOUNTS: Final = ("a", "b")


def value_events() -> st.SearchStrategy[Event]:
    """Value events of every kind, mostly trades."""
    return st.one_of(any_trades(), any_trades(), any_trades(), movements())


@st.composite
def movements(draw: st.DrawFn) -> Event:
    """Movements of value other than trades."""
    account, asset, quantity = draw(st.sampled_from(ACCOUNTS)), Asset(draw(st.sampled_from(ASSETS))), draw(_quantities)
    worth = draw(decimals(0, 10**12))
    kind = draw(st.integers(0, 8))
    match kind:
        case 0 | 1:
            cash = events.CashDeposited if kind else events.CashWithdrawn
            return cash(account=account, asset=Asset(BASE), amount=quantity)
        case 2 | 3:
            arrived = events.AssetDeposited if kind == 2 else events.OpeningLotRecorded
            return arrived(account=account, asset=asset, quantity=quantity, cost=draw(st.sampled_from((None, worth))))
        case 4:
            return events.AssetWithdrawn(account=account, asset=asset, quantity=quantity)
        case 5:
            income, value = draw(st.sampled_from(((Asset(BASE), quantity), (asset, worth))))
            return events.IncomeReceived(account=account, asset=income, quantity=quantity, value=value, kind="staking")
        case 6:
            ends = (account, "b" if account == "a" else "a")
            moved = draw(st.sampled_from((asset, Asset(BASE))))
            return events.TransferRecorded(
                from_account=ends[0], to_account=ends[1], asset=moved, quantity=quantity, fee=draw(st.none() | _fees())
            )
        case 7:
            parts = draw(st.sampled_from(((2, 1), (1, 3), (7, 3), (1, 10**9))))
            return events.SplitRecorded(asset=asset, numerator=parts[0], denominator=parts[1])
        case _:
            return events.FeeCharged(account=account, fee=draw(_fees()))


def as_facts(found: Sequence[tuple[Event | None, int]], start: datetime, first_id: int) -> list[NewEvent]:
    """Return the events as new events, some minutes after `start`; None reverses an earlier one."""
    facts: list[NewEvent] = []
    for number, (event, minute) in enumerate(found):
        event_id = UUID(int=first_id + number)
        if event is not None:
            facts.append(NewEvent(event, event_id, start + timedelta(minutes=minute), "test", event_id))
        elif earlier := [one for one in facts if not isinstance(one.event, events.TradeReversed)]:
            target = earlier[minute % len(earlier)]
            reversal = events.TradeReversed(reverses=target.event_id, reason="wrong")
            facts.append(NewEvent(reversal, event_id, target.occurred_at, "test", event_id))
    return facts


_quantities = decimals(1, 10**15)


@st.composite
def _fees(draw: st.DrawFn) -> Fee:
    """A fee or a rebate with its value."""
    asset = Asset(draw(st.sampled_from((*ASSETS, "BNB", BASE))))
    amount = draw(decimals(-(10**6), 10**9))
    return Fee(asset=asset, amount=amount, value=amount if asset == BASE else amount * draw(st.integers(1, 500)))
