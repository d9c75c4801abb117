-- A small system of the last generation: what docs/migrate.md moves in.
create table bots (id integer primary key, name varchar(100), pair varchar(20), status varchar(20), position_size_usd float,
    confirmation_minutes integer, cooldown_minutes integer, signal_config text, created_at datetime, updated_at datetime);
insert into bots values (1, 'btc dip', 'BTC-USD', 'RUNNING', 100.0, 0, 15,
    '{"RSI": {"enabled": true, "weight": 0.33, "period": 14, "buy_threshold": 30, "sell_threshold": 70}}',
    '2025-09-02 08:00:00', '2025-09-14 08:00:00');
create table trades (id integer primary key, bot_id integer, product_id varchar(20), side varchar(10), size float, price float,
    fee float, commission float, order_id varchar(100), status varchar(20), combined_signal_score float, signal_scores text,
    size_usd float, size_in_quote boolean, created_at datetime, filled_at datetime);
insert into trades values
    (1, 1, 'BTC-USD', 'buy', 0.002, 50000.0, 0.6, null, 'a1', 'filled', -0.31, '{"rsi": -0.31}', 100.0, 0, '2025-09-03 09:00:00', '2025-09-03 09:00:01'),
    (2, 1, 'BTC-USD', 'BUY', 100.0, 52000.0, 0.0, 0.0, 'order-7', 'completed', -0.40, '{"rsi": -0.40}', 100.0, 0, '2025-09-14 10:00:00', '2025-09-14 10:00:00'),
    (3, 1, 'BTC-USD', 'BUY', 0.0019, 52100.0, 0.0, 0.59, 'fill-7', 'filled', 0.0, '{}', 98.99, 0, '2025-09-14 10:00:01', '2025-09-14 10:00:01'),
    (4, 1, 'BTC-USD', 'SELL', 0.003, 56000.0, 0.0, 1.01, 'a4', 'filled', 0.35, '{"rsi": 0.35}', 168.0, 0, '2025-09-20 12:00:00', '2025-09-20 12:00:00'),
    (5, 1, 'BTC-USD', 'BUY', 0.001, 55000.0, 0.0, 0.0, 'mock-1758400000-0a1b2c3d', 'completed', -0.1, '{}', 55.0, 0, '2025-09-20 20:00:00', '2025-09-20 20:00:00'),
    (6, null, 'BTC-USD', 'SELL', 0.001, 57000.0, 0.0, 0.3, 'a6', 'filled', 0.0, '{}', null, 0, '2025-09-21 12:00:00', '2025-09-21 12:00:00'),
    (7, 1, 'BTC-USD', 'BUY', 100.0, 54000.0, 0.0, 0.0, 'a7', 'failed', -0.2, '{}', 100.0, 0, '2025-09-22 12:00:00', null);
create table raw_trades (id integer primary key, fill_id varchar(100) unique not null, order_id varchar(100) not null,
    product_id varchar(20), side varchar(10), size float, size_in_quote boolean, price float, commission float,
    created_at varchar(50), synced_at datetime);
insert into raw_trades values
    (1, 'fill-7', 'order-7', 'BTC-USD', 'BUY', 0.0019, 0, 52100.0, 0.59, '2025-09-14T10:00:01Z', '2025-09-14 10:05:00');
create table bot_signal_history (id integer primary key, bot_id integer, timestamp datetime, combined_score float,
    action varchar(10), confidence float, signal_scores text, price float);
insert into bot_signal_history values
    (1, 1, '2025-09-03 09:00:00', -0.31, 'buy', 0.8, '{"rsi": -0.31}', 50000.0),
    (2, 1, '2025-09-20 12:00:00', 0.35, 'sell', 0.7, '{"rsi": 0.35}', 56000.0);
create table market_data (id integer primary key, product_id varchar(20), timestamp datetime, close_price float);
insert into market_data values (1, 'BTC-USD', '2025-09-03 09:00:00', 50000.0);
