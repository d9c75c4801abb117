"""Performance figures, compared with three libraries, plain formulas and their own properties."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from statistics import NormalDist
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.reports import metrics, money_weighted
from ledger.reports.metrics import Close, DayReturn, Flow
from ledger.values import ZERO

JANUARY: Final = datetime(2026, 1, 1, tzinfo=UTC)
YEAR: Final = Decimal(365)
RATE: Final = Decimal("0.0005")
_TEXT: Final = """
-0.0347 0.0133 0.0318 -0.0134 -0.0379 0.0 0.0163 0.0349 -0.0345 -0.0368 0.0232 0.0162 0.048 0.0315 -0.0011
-0.0062 0.0791 -0.0067 -0.0215 -0.0322 0.0049 0.0064 -0.0083 0.0001 0.0102 0.0228 0.0349 0.0083 -0.0517 0.0231
-0.0406 -0.0031 -0.0422 0.0021 -0.0214 0.0084 0.101 0.0005 0.0273 -0.0377 -0.0066 0.0219 -0.0008 0.0131 0.0051
"""
RETURNS: Final = tuple(map(Decimal, _TEXT.split()))
DAYS: Final = tuple(date(2026, 1, 1) + timedelta(days=number) for number in range(len(RETURNS)))
FALLS: Final = metrics.drawdowns(RETURNS)

# Figures of empyrical-reloaded 0.7.1 (e), quantstats 0.0.86 (q) and ffn 1.4.1 (f) for RETURNS on DAYS. They are not
# among the dependencies: one pins a package that must be compiled, the others bring a plotting library each.
LIBRARIES: Final[tuple[tuple[str, Callable[[], Decimal | None], float], ...]] = (
    ("sharpe e q f", lambda: metrics.sharpe(RETURNS, YEAR), 2.024696077951742),
    ("sharpe of 252 days e", lambda: metrics.sharpe(RETURNS, Decimal(252)), 1.6823396464809797),
    ("sharpe over a rate e", lambda: metrics.sharpe(RETURNS, YEAR, RATE), 1.7147936170407616),
    ("sortino e q f", lambda: metrics.sortino(RETURNS, YEAR), 3.412378770946293),
    ("sortino over a rate e", lambda: metrics.sortino(RETURNS, YEAR, RATE), 2.8485039077920997),
    ("volatility e", lambda: metrics.volatility(RETURNS, YEAR), 0.5888949686411907),
    ("total return e q", lambda: metrics.total_return(RETURNS), 0.13455976093202993),
    ("drawdown e q f", lambda: max(FALLS), 0.12842201569668948),
    ("historic VaR e", lambda: metrics.var_historic(RETURNS), 0.04006),
    ("CVaR e", lambda: metrics.cvar_historic(RETURNS), 0.044833333333333336),
    ("parametric VaR q", lambda: metrics.var_parametric(RETURNS), 0.047434583537319386),
    ("CAGR f", lambda: metrics.cagr(metrics.total_return(RETURNS), Decimal(45)), 1.786220860081852),
    ("Calmar f", lambda: metrics.calmar(Decimal("1.786220860081852"), max(FALLS)), 13.908992553898209),
    # quantstats divides the squares by n - 1, ffn counts the start as a day: both are brought to the mean over n days.
    ("ulcer q", lambda: metrics.ulcer(FALLS), 0.051089291403256354 * math.sqrt(44 / 45)),
    ("ulcer f", lambda: metrics.ulcer(FALLS), 0.04996631270118532 * math.sqrt(46 / 45)),
)

some_returns = st.lists(st.decimals(Decimal("-0.9"), Decimal("1.5"), places=4), min_size=2, max_size=60)
growths = st.decimals(Decimal("0.5"), Decimal("1.5"), places=4)
money = st.decimals(Decimal("0.01"), 10**6, places=2)


def near(ours: Decimal | None, other: float, relative: float = 1e-9) -> bool:
    return ours is not None and math.isclose(float(ours), other, rel_tol=relative, abs_tol=1e-12)


# ── against others ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("ours", "other"), [one[1:] for one in LIBRARIES], ids=[one[0] for one in LIBRARIES])
def test_metrics_equal_those_of_libraries(ours: Callable[[], Decimal | None], other: float) -> None:
    """Of a fixed series, where the definitions are the same."""
    assert near(ours(), other)


def test_longest_drawdown_equals_that_of_quantstats() -> None:
    drawdown = metrics.drawdown_of(DAYS, FALLS)

    assert drawdown is not None
    assert drawdown.longest_days == 17
    assert drawdown.current == FALLS[-1] > 0


@given(some_returns)
def test_metrics_equal_plain_formulas(returns: list[Decimal]) -> None:
    """In floats."""
    floats = np.array([str(one) for one in returns], dtype=np.float64)
    wealth = np.concatenate([[1.0], np.cumprod(1 + floats)])
    falls = (1 - wealth / np.maximum.accumulate(wealth))[1:]
    worst = np.quantile(floats, 0.05)

    assert near(metrics.total_return(returns), wealth[-1] - 1)
    assert all(near(ours, other, 1e-7) for ours, other in zip(metrics.drawdowns(returns), falls, strict=True))
    assert near(metrics.ulcer(metrics.drawdowns(returns)), math.sqrt(np.mean(falls**2)), 1e-7)
    assert near(metrics.var_historic(returns), -worst)
    assert near(metrics.cvar_historic(returns), -floats[floats <= worst + 1e-12].mean())
    spread = floats.std(ddof=1)
    if min(returns) == max(returns):
        assert (metrics.sharpe(returns, YEAR), metrics.var_parametric(returns)) == (None, None)
        return
    assert near(metrics.sharpe(returns, YEAR, RATE), (floats.mean() - 0.0005) / spread * math.sqrt(365), 1e-7)
    assert near(metrics.volatility(returns, YEAR), spread * math.sqrt(365))
    assert near(metrics.var_parametric(returns), -NormalDist(floats.mean(), spread).inv_cdf(0.05), 1e-7)
    below = math.sqrt(np.mean(np.minimum(floats, 0) ** 2))
    if below:
        assert near(metrics.sortino(returns, YEAR), floats.mean() / below * math.sqrt(365), 1e-7)


def test_sharpe_scales_with_periods_per_year() -> None:
    """With 365 it is √(365/252) times that with 252: 0.910 instead of 0.756."""
    by_252, by_365 = metrics.sharpe(RETURNS, Decimal(252)), metrics.sharpe(RETURNS, YEAR)

    assert by_252 is not None
    assert near(by_365, float(by_252) * math.sqrt(365 / 252))
    assert round(0.756 * math.sqrt(365 / 252), 2) == round(0.910, 2)


# ── returns and flows ────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.lists(st.tuples(growths, st.one_of(st.just(ZERO), money)), min_size=1, max_size=3), min_size=1))
def test_flows_do_not_change_returns(days: list[list[tuple[Decimal, Decimal]]]) -> None:
    """Each day has the return of its prices."""
    assert_flows_are_removed(days)


def assert_flows_are_removed(days: list[list[tuple[Decimal, Decimal]]]) -> None:
    equity, flows, closes = Decimal(1000), [Flow(JANUARY + timedelta(hours=1), Decimal(1000), ZERO, Decimal(1000))], []
    for number, day in enumerate(days):
        for hour, (growth, paid) in enumerate(day, start=2):
            equity *= growth
            if paid:
                flows.append(Flow(JANUARY + timedelta(days=number, hours=hour), paid, equity, equity + paid))
                equity += paid
        closes.append(Close((JANUARY + timedelta(days=number)).date(), equity))
    returns = metrics.time_weighted_returns(closes, flows)
    wanted = [math.prod(float(growth) for growth, _ in day) - 1 for day in days]
    assert [one.day for one in returns] == [close.day for close in closes]
    assert all(near(one.value, other, 1e-7) for one, other in zip(returns, wanted, strict=True))


def test_returns_are_unknown_when_equity_or_a_flow_is() -> None:
    """Unknown equity affects its own day and the next, an unknown flow its own day."""
    days = [date(2026, 1, number) for number in range(1, 8)]
    equity = [Decimal(10), None, Decimal(12), Decimal(15), Decimal(16), Decimal(20), Decimal(25)]
    flows = [
        Flow(JANUARY + timedelta(hours=5), Decimal(10), ZERO, Decimal(10)),
        Flow(JANUARY + timedelta(days=4, hours=5), None, Decimal(15), None),
    ]

    returns = metrics.time_weighted_returns([Close(*one) for one in zip(days, equity, strict=True)], flows)

    wanted = [ZERO, None, None, Decimal("0.25"), None, Decimal("0.25"), Decimal("0.25")]
    assert returns == [DayReturn(*one) for one in zip(days, wanted, strict=True)]


def test_days_without_equity_have_no_return() -> None:
    """With negative equity it is unknown."""
    closes = [Close(date(2026, 1, number), Decimal(worth)) for number, worth in ((1, 0), (2, 10), (3, 0), (4, 0))]
    flows = [
        Flow(JANUARY + timedelta(days=1, hours=5), Decimal(8), ZERO, Decimal(8)),
        Flow(JANUARY + timedelta(days=2, hours=5), Decimal(-12), Decimal(12), ZERO),
    ]

    returns = metrics.time_weighted_returns(closes, flows)

    assert [(one.day.day, one.value) for one in returns] == [(2, Decimal("0.25")), (3, Decimal("0.2"))]
    owing = [Close(date(2026, 1, 1), Decimal(-5)), Close(date(2026, 1, 2), Decimal(5))]
    assert [one.value for one in metrics.time_weighted_returns(owing, [])] == [None, None]


def test_utc_day_begins_at_midnight() -> None:
    """In UTC, for times in any zone."""
    assert metrics.utc_day(JANUARY) == date(2026, 1, 1)
    assert metrics.utc_day(JANUARY - timedelta(microseconds=1)) == date(2025, 12, 31)
    assert metrics.utc_day(JANUARY.astimezone(timezone(timedelta(hours=-5)))) == date(2026, 1, 1)


@given(some_returns)
def test_drawdowns_are_between_0_and_1(returns: list[Decimal]) -> None:
    """The first loss counts, and at a new high they are 0."""
    assert_drawdowns_hold(returns)


def assert_drawdowns_hold(returns: Sequence[Decimal]) -> None:
    falls = metrics.drawdowns(returns)
    assert all(0 <= fall <= 1 for fall in falls)
    assert falls[0] == max(-returns[0], ZERO)
    wealth = highest = Decimal(1)
    for one, fall in zip(returns, falls, strict=True):
        wealth *= 1 + one
        assert (fall == 0) == (wealth >= highest)
        highest = max(highest, wealth)


def test_undefined_metrics_are_none() -> None:
    """Neither 0 nor infinite."""
    one, flat, rising = [RATE], [RATE, RATE, RATE], [RATE, RATE * 2]
    for too_few in ([], one):
        assert metrics.sharpe(too_few, YEAR) is None
        assert metrics.sortino(too_few, YEAR) is None
        assert metrics.volatility(too_few, YEAR) is None
        assert metrics.var_historic(too_few) is None
        assert metrics.cvar_historic(too_few) is None
        assert metrics.var_parametric(too_few) is None
    third = Decimal(1) / 3
    assert metrics.sharpe(flat, YEAR) is metrics.sharpe([third] * 3, YEAR) is None
    assert metrics.volatility(flat, YEAR) == 0
    assert metrics.sortino(rising, YEAR) is None
    assert metrics.ulcer([]) is None
    assert metrics.drawdown_of([], []) is None
    assert metrics.calmar(RATE, ZERO) is metrics.calmar(None, RATE) is metrics.calmar(RATE, None) is None
    assert metrics.cagr(RATE, ZERO) is metrics.cagr(RATE, Decimal("0.9")) is None
    assert metrics.cagr(Decimal(10), Decimal(1)) is metrics.cagr(Decimal(-2), YEAR) is None
    assert metrics.cagr(Decimal(-1), YEAR) == -1


@given(st.decimals(Decimal("-0.5"), 2, places=3))
def test_rate_per_period_compounds_to_the_annual_rate(annual: Decimal) -> None:
    assert near((1 + metrics.rate_per_period(annual, YEAR)) ** 365, float(1 + annual))


# ── money-weighted ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_xirr_equals_that_of_spreadsheets() -> None:
    """The example of their manuals: 37.3362535 %."""
    payments = [
        (date(2008, 1, 1), -10000),
        (date(2008, 3, 1), 2750),
        (date(2008, 10, 30), 4250),
        (date(2009, 2, 15), 3250),
        (date(2009, 4, 1), 2750),
    ]

    assert near(money_weighted.xirr((day, Decimal(amount)) for day, amount in payments), 0.373362535, 1e-8)


@given(
    st.lists(st.tuples(st.integers(0, 2000), money), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(1, 2000), money), min_size=1, max_size=12),
)
def test_xirr_makes_the_present_value_zero(paid: list[tuple[int, Decimal]], got: list[tuple[int, Decimal]]) -> None:
    """It exists if all withdrawals are later than all deposits."""
    assert_worth_nothing(paid, [(day + 4000, amount) for day, amount in got])
    assert_worth_nothing(paid, got, must=False)


def assert_worth_nothing(paid: list[tuple[int, Decimal]], got: list[tuple[int, Decimal]], *, must: bool = True) -> None:
    signed = [*((day, -amount) for day, amount in paid), *got]
    rate = money_weighted.xirr((date(2020, 1, 1) + timedelta(days=day), amount) for day, amount in signed)
    if rate is None:
        assert not must
        return
    years = {day: Decimal(day - min(one for one, _ in signed)) / 365 for day, _ in signed}
    worth = [amount / (1 + rate) ** years[day] for day, amount in signed]
    assert abs(sum(worth, ZERO)) <= max(abs(one) for one in worth) * Decimal("1e-18")


def test_xirr_is_none_without_a_solution() -> None:
    """Without a change of sign, on a single day, for extreme rates, and for a total loss."""
    first, second = date(2026, 1, 1), date(2026, 1, 2)
    for payments in (
        [],
        [(first, -10)],
        [(first, -10), (second, -5)],
        [(first, 10), (second, 5)],
        [(first, -10), (first, 11)],
        [(first, -10), (second, 0)],
        [(first, -10), (second, 20)],
    ):
        assert money_weighted.xirr((day, Decimal(amount)) for day, amount in payments) is None
    assert money_weighted.xirr([(first, Decimal(-10)), (second, Decimal(10))]) == 0


# ── planted mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────


def _all_libraries() -> None:
    for _, ours, other in LIBRARIES:
        assert near(ours(), other)


def _flows() -> None:
    assert_flows_are_removed([[(Decimal("1.1"), Decimal(500))], [(Decimal("0.9"), ZERO)]])


def _payments() -> None:
    assert_worth_nothing([(0, Decimal(100))], [(400, Decimal(130))])


@pytest.mark.parametrize(
    ("module", "name", "bug", "check"),
    [
        (metrics, "_deviation", lambda values: Decimal(str(np.std([float(one) for one in values]))), _all_libraries),
        (metrics, "_quantile", lambda ordered, share: ordered[int(share * (len(ordered) - 1))], _all_libraries),
        (metrics, "_mean", lambda values: sorted(values)[len(values) // 2], _all_libraries),
        (metrics, "YEAR_DAYS", Decimal(365), _all_libraries),
        (metrics, "NORMAL_QUANTILE", Decimal("-1.96"), _all_libraries),
        (metrics, "_around", lambda flow: (flow.equity_before, flow.equity_before), _flows),
        (metrics, "_linked", lambda growth, start, end: end / start if start else growth, lambda: assert_flows_are_removed(
            [[(Decimal("1.1"), Decimal(500)), (Decimal("1.2"), ZERO)]]
        )),
        (metrics, "drawdowns", lambda returns: [ZERO for _ in returns], lambda: assert_drawdowns_hold(RETURNS)),
        (money_weighted, "YEAR_DAYS", 360, _payments),
        (money_weighted, "_STEPS", 3, _payments),
    ],
    ids=["ddof 0", "no interpolation", "median", "year", "two-sided", "flows kept", "half a day", "no drawdown", "360", "coarse"],
)  # fmt: skip
def test_planted_mistake_is_found(
    module: object, name: str, bug: object, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    check()
    monkeypatch.setattr(module, name, bug)

    with pytest.raises(AssertionError):
        check()
