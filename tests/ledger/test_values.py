"""Decimals, times, assets, instruments and ids: wrong values are rejected, and no digit is lost."""

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, FloatOperation
from fractions import Fraction
from itertools import pairwise
from threading import Thread

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.values import (
    Asset,
    Instrument,
    decimal_text,
    derived_id,
    exact_decimal,
    floor18,
    new_id,
    round18,
    share18,
    time_text,
    utc_time,
)

UNIT = Fraction(1, 10**18)
WIDEST = 10**38 - 1
NUMBERS = st.integers(-WIDEST, WIDEST).map(lambda units: Decimal(units).scaleb(-18))


def floor_of(value: Fraction) -> Fraction:
    """Return the largest multiple of 1e-18 not above `value`."""
    return math.floor(value / UNIT) * UNIT


# ── decimals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "value",
    [
        1,
        0,
        True,
        1.5,
        float("nan"),
        None,
        b"1",
        [1],
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("1e20"),
        Decimal("1e-19"),
        Decimal("1e999999"),
        Decimal("1e-999999"),
        Decimal("99999999999999999999.9999999999999999999"),
        "",
        "-",
        ".",
        "1e3",
        "1E-3",
        "NaN",
        "inf",
        "1,5",
        "1_000",
        " 1",
        "1\n",
        "0x10",
        "١",
        "--1",
        "1" * 21,
        "0." + "0" * 18 + "1",
        "9" * 5000,
    ],
)
def test_exact_decimal_rejects_inexact_values(value: object) -> None:
    """Floats, ints, exponents, NaN and more than 20 + 18 digits raise ValueError with a sentence."""
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        exact_decimal(value)


@given(value=NUMBERS)
def test_decimal_text_round_trips(value: Decimal) -> None:
    """All decimals of 38 digits with 18 places come back from their text, digit for digit."""
    text = decimal_text(value)

    assert exact_decimal(text) == exact_decimal(value) == value
    assert decimal_text(exact_decimal(text)) == text


@pytest.mark.parametrize(
    ("text", "plain"),
    [("1.50", "1.5"), ("-0.00", "0"), ("+7.", "7"), (".5", "0.5"), ("100", "100"), ("0.000000000000000001",) * 2],
)
def test_decimal_text_is_canonical(text: str, plain: str) -> None:
    """Equal decimals have equal texts: no exponent, no trailing zeros, no minus zero."""
    assert decimal_text(exact_decimal(text)) == plain


def test_mixing_floats_and_decimals_raises() -> None:
    """Converting a float to Decimal and comparing them raises, in this thread and in later ones."""
    caught: list[type[BaseException]] = []
    binary = 0.1

    def mix() -> None:
        try:
            Decimal(binary)
        except FloatOperation as error:
            caught.append(type(error))

    mix()
    thread = Thread(target=mix)
    thread.start()
    thread.join()
    assert caught == [FloatOperation, FloatOperation]
    with pytest.raises(FloatOperation):
        assert Decimal(1) < 1.5


# ── shares ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(total=NUMBERS, part=st.integers(0, WIDEST), whole=st.integers(1, WIDEST))
def test_share18_is_the_floor_of_the_exact_fraction(total: Decimal, part: int, whole: int) -> None:
    """share18 is floor18(total * part / whole) for every total, including negative ones."""
    assume(part < whole)

    share = share18(total, Decimal(part).scaleb(-18), Decimal(whole).scaleb(-18))
    assert Fraction(share) == floor_of(Fraction(total) * part / whole)


@given(total=NUMBERS, steps=st.lists(st.integers(1, 10**25), min_size=1, max_size=12))
def test_share18_splits_a_total_without_loss(total: Decimal, steps: list[int]) -> None:
    """Differences of shares add up to the total, whatever the steps."""
    whole = Decimal(sum(steps)).scaleb(-18)
    ends = [Decimal(sum(steps[:count])).scaleb(-18) for count in range(len(steps) + 1)]
    shares = [share18(total, end, whole) for end in ends]

    assert shares[0] == 0
    assert sum((after - before for before, after in pairwise(shares)), Decimal(0)) == total


@pytest.mark.parametrize(
    "planted",
    [
        lambda total, part, whole: total * part / whole,
        lambda total, part, whole: round18(total * part / whole),
        lambda total, part, whole: ((total * part).scaleb(18) // whole).scaleb(-18),
    ],
    ids=["no floor", "half even", "toward zero"],
)
def test_share18_check_finds_wrong_rounding(planted: object) -> None:
    """No rounding, half-even rounding and truncation toward zero fail the property above."""
    assert callable(planted)
    cases = [(Decimal(total), Decimal(2), Decimal(3)) for total in (-1, 1)]

    right = [Fraction(share18(*case)) == floor_of(Fraction(case[0]) * 2 / 3) for case in cases]
    wrong = [Fraction(planted(*case)) == floor_of(Fraction(case[0]) * 2 / 3) for case in cases]
    assert right == [True, True]
    assert wrong != [True, True]


@given(numerator=st.integers(-(10**60), 10**60))
def test_round18_is_nearest_and_floor18_is_below(numerator: int) -> None:
    """round18 is at most half a unit away; floor18 is the floor."""
    value = Decimal(numerator).scaleb(-36)

    assert abs(Fraction(round18(value)) - Fraction(value)) <= UNIT / 2
    assert Fraction(floor18(value)) == floor_of(Fraction(value))


# ── times ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "value",
    [
        "2024-01-01T00:00:00",
        "2024-01-01",
        "soon",
        "",
        datetime(2024, 1, 1),  # noqa: DTZ001 - a naive time, which must be rejected
        1704067200,
        None,
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
    ],
)
def test_utc_time_rejects_naive_times(value: object) -> None:
    """Naive times, numbers, and times that UTC cannot represent raise ValueError with a sentence."""
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        utc_time(value)


@given(
    time=st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001 - hypothesis adds the zone
    minutes=st.integers(-1439, 1439),
)
def test_utc_time_keeps_the_instant(time: datetime, minutes: int) -> None:
    """For every offset the instant is unchanged, the zone is UTC, and the text round-trips."""
    given_time = time.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    made = utc_time(given_time)

    assert made == given_time
    assert made.tzinfo is UTC
    assert utc_time(time_text(made)) == made
    assert time_text(made).endswith("Z")


# ── names and ids ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["", "usd", "US D", "A" * 21, "É", ".A", "USD\n", "A-B"])
def test_asset_rejects_wrong_symbols(text: str) -> None:
    """An asset is 1 to 20 upper-case letters, digits and dots."""
    with pytest.raises(ValueError, match="is not an asset symbol"):
        Asset(text)


@pytest.mark.parametrize("text", ["", "BTC", "BTC/USD", "btc-usd", "A-B-C", "BTC-", "-USD", "USD-USD", "BTC-USD\n"])
def test_instrument_rejects_wrong_pairs(text: str) -> None:
    """An instrument is two different assets joined by a dash."""
    with pytest.raises(ValueError, match=r"instrument|itself"):
        Instrument(text)


def test_instrument_has_base_and_quote() -> None:
    """Base and quote are the assets before and after the dash."""
    instrument = Instrument("BRK.B-USD")

    assert (instrument.base, instrument.quote) == (Asset("BRK.B"), Asset("USD"))
    assert (type(instrument.base), type(instrument.quote)) == (Asset, Asset)


def test_ids_repeat_only_when_derived() -> None:
    """The same parts give the same id, other parts another; new ids differ and sort by creation."""
    assert derived_id("a", 1) == derived_id("a", "1")
    assert derived_id("a", "b") != derived_id("ab")
    fresh = [new_id() for _ in range(100)]
    assert fresh == sorted(set(fresh))
