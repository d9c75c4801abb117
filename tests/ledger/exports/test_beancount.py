"""The portfolio as a beancount ledger: every transaction balances, every lot and match of the book is written.

That beancount itself accepts and books it is asked nightly in `tests/second_opinions/`.
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
from tests.support.random_lives import assets_of, fold_facts, lives


def text_of(facts: list[NewEvent]) -> str:
    rows, log = fold_facts(facts)
    try:
        return "\n".join(beancount_text(rows, log))
    except CannotExport:  # a lot that cost less than nothing: a rebate above the price
        assume(False)
        raise


@given(facts=lives())
def test_every_transaction_balances_and_holds_every_gain(facts: list[NewEvent]) -> None:
    """Whatever happened, each transaction makes 0 to the last digit, and the gains written are those of the book."""
    check_gains(facts)


@given(facts=lives())
def test_the_same_log_is_the_same_text(facts: list[NewEvent]) -> None:
    """The text depends on the log alone."""
    assert text_of(facts) == text_of(facts)


@pytest.mark.parametrize(
    ("asset", "name"),
    [("BTC", "BTC"), ("BRK.B", "BRK.B"), ("1INCH", "C-1INCH"), ("TRUE", "C-TRUE"), ("BRK.", "C-BRK.-X")],
)
def test_every_asset_has_a_name_that_beancount_reads(asset: str, name: str) -> None:
    """A name that begins with a digit, ends with a dot or is a word of beancount's own is written another way."""
    assert commodity(asset) == name
    assert re.fullmatch(r"[A-Z][A-Z0-9'._-]*[A-Z0-9]", name)


def test_a_gain_written_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: gains rounded to cents do not balance, and the export says so instead of writing them."""

    def in_cents(self: object, account: str, value: Decimal) -> Posting:
        return Posting(account, f"{value:.2f} USD", round(value, 2))

    monkeypatch.setattr(beancount_export._Writer, "_money", in_cents)
    with pytest.raises(AssertionError):
        test_every_transaction_balances_and_holds_every_gain()


def check_gains(facts: list[NewEvent]) -> None:
    written = re.findall(r"^  Income:Gains  (\S+) USD$", text_of(facts), re.MULTILINE)
    rows, _ = fold_facts(facts)
    matches = [match for asset in assets_of(rows) for match in rows.history(Match, asset)]
    gains = [one.realized_pnl for one in matches if one.cost_known and one.kind != "withdrawal"]
    assert sorted(-Decimal(one) for one in written) == sorted(gains)
    assert sum((Decimal(one) for one in written), ZERO) == -sum(gains, ZERO)
