"""The portfolio as a beancount ledger: every transaction balances, every lot and match of the book is written.

`tests/second_opinions/` runs beancount itself on it nightly.
"""

import re
from decimal import Decimal

import pytest
from hypothesis import assume, given

from ledger.booking.lots import Match
from ledger.exports import beancount as beancount_export
from ledger.exports.beancount import CannotExport, Posting, beancount_text, commodity
from ledger.log.envelope import NewEvent
from ledger.values import ZERO
from tests.support.generators.random_lives import assets_of, fold_facts, lives


def text_of(facts: list[NewEvent]) -> str:
    rows, log = fold_facts(facts)
    try:
        return "\n".join(beancount_text(rows, log))
    except CannotExport:  # a lot with a negative cost: a rebate above the price
        assume(False)
        raise


@given(facts=lives())
def test_beancount_transactions_balance_and_hold_every_gain(facts: list[NewEvent]) -> None:
    """Each transaction adds up to exactly 0, and the gains written are those of the book."""
    check_gains(facts)


@given(facts=lives())
def test_beancount_text_depends_on_the_log_alone(facts: list[NewEvent]) -> None:
    """The same log gives the same text."""
    assert text_of(facts) == text_of(facts)


@pytest.mark.parametrize(
    ("asset", "name"),
    [("BTC", "BTC"), ("BRK.B", "BRK.B"), ("1INCH", "C-1INCH"), ("TRUE", "C-TRUE"), ("BRK.", "C-BRK.-X")],
)
def test_commodity_is_a_name_that_beancount_reads(asset: str, name: str) -> None:
    """A name that begins with a digit, ends with a dot or is reserved by beancount is rewritten."""
    assert commodity(asset) == name
    assert re.fullmatch(r"[A-Z][A-Z0-9'._-]*[A-Z0-9]", name)


def test_planted_wrong_gain_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gains rounded to cents do not balance and stop the export."""

    def in_cents(self: object, account: str, value: Decimal) -> Posting:
        return Posting(account, f"{value:.2f} USD", round(value, 2))

    monkeypatch.setattr(beancount_export._Writer, "_money", in_cents)
    with pytest.raises(AssertionError):
        test_beancount_transactions_balance_and_hold_every_gain()


def check_gains(facts: list[NewEvent]) -> None:
    written = re.findall(r"^  Income:Gains  (\S+) USD$", text_of(facts), re.MULTILINE)
    rows, _ = fold_facts(facts)
    matches = [match for asset in assets_of(rows) for match in rows.history(Match, asset)]
    gains = [one.realized_pnl for one in matches if one.cost_known and one.kind != "withdrawal"]
    assert sorted(-Decimal(one) for one in written) == sorted(gains)
    assert sum((Decimal(one) for one in written), ZERO) == -sum(gains, ZERO)
