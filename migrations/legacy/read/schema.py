"""Tables of the legacy system in all its generations. Every column except the ids may be missing."""

from collections.abc import Iterable, Mapping
from typing import Final

MAPPING: Final = 1
"""Version of the translation. Another version gives other event ids and needs a new portfolio."""

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "bots": (
        *("id", "name", "description", "pair", "product_id", "status", "position_size_usd", "trade_size_usd"),
        *("max_positions", "stop_loss_pct", "take_profit_pct", "confirmation_minutes", "trade_step_pct"),
        *("cooldown_minutes", "signal_config", "skip_signals_on_low_balance", "use_trend_detection"),
        *("use_position_sizing", "current_position_size", "current_position_entry_price", "current_combined_score"),
        *("signal_confirmation_start", "created_at", "updated_at", "trading_mode"),
    ),
    "trades": (
        *("id", "bot_id", "product_id", "side", "size", "price", "fee", "commission", "order_id", "status"),
        *("combined_signal_score", "signal_scores", "position_tranches", "average_entry_price", "tranche_number"),
        *("position_status", "size_usd", "size_in_quote", "created_at", "filled_at", "trading_mode"),
    ),
    "bot_signal_history": (
        *("id", "bot_id", "timestamp", "combined_score", "action", "confidence", "signal_scores"),
        *("evaluation_metadata", "price"),
    ),
    "market_data": (
        *("id", "product_id", "timestamp", "timeframe"),
        *("open_price", "high_price", "low_price", "close_price", "volume"),
    ),
    "raw_trades": (
        *("id", "fill_id", "order_id", "product_id", "side", "size", "size_in_quote", "price", "commission"),
        *("created_at", "synced_at"),
    ),
    "notifications": ("id", "type", "title", "message", "priority", "data", "read", "created_at"),
    "trading_pairs": (
        *("id", "product_id", "base_currency_id", "quote_currency_id", "base_name", "status", "trading_disabled"),
        *("is_disabled", "first_seen", "last_updated", "is_new_listing", "initial_price", "initial_volume_24h"),
    ),
    "signal_predictions": (
        *("id", "timestamp", "pair", "regime", "signal_type", "signal_score", "prediction", "confidence"),
        *("actual_price_change_pct", "outcome", "evaluation_timestamp", "trade_executed", "trade_id"),
        *("trade_pnl_usd", "evaluation_period_minutes"),
    ),
    "signal_performance_metrics": (
        *("id", "pair", "regime", "signal_type", "total_predictions", "accuracy", "precision", "recall"),
        *("avg_confidence", "avg_pnl_usd", "calculation_period_days", "last_updated", "min_samples_required"),
        "is_reliable",
    ),
    "adaptive_signal_weights": (
        *("id", "bot_id", "pair", "regime", "signal_weights", "default_weights", "weight_calculation_method"),
        *("performance_period_days", "confidence_score", "created_at", "last_used", "usage_count"),
    ),
    "signals": ("id", "name", "description", "enabled", "weight", "parameters"),
    "signal_results": (
        *("id", "signal_id", "product_id", "timestamp", "score", "action", "confidence", "signal_metadata"),
    ),
}
"""Known columns by table, of all generations."""

TRANSLATED: Final = ("bots", "raw_trades", "trades", "bot_signal_history")
"""Tables whose rows become events. Rows of all others are only archived."""

GENERATIONS: Final[tuple[tuple[str, str, str], ...]] = (
    ("trades", "size_in_quote", "2025-09-13 or later: fills, commissions, sizes in either unit"),
    ("trades", "trading_mode", "2025-09-04: trading_mode, which lived briefly"),
    ("trades", "position_tranches", "2025-09-03: tranches and mock trades"),
    ("bot_signal_history", "action", "2025-09-02, evening: actions and confidence in the signal history"),
    ("bots", "trade_step_pct", "2025-09-02, later: steps and cooldowns"),
    ("trades", "bot_id", "2025-09-02: trades that belong to bots"),
)
"""Table, column added by a generation, and description of that generation, newest first."""


def generation_of(tables: Mapping[str, Iterable[str]]) -> str:
    """Describe the generation of a database by the newest of its columns."""
    for table, column, description in GENERATIONS:
        if column in tables.get(table, ()):
            return description
    return "2025-09-02, first form: no bots, signals in tables of their own"


def quoted(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'
