"""How does Daybook trade at a real exchange? Through ccxt, with declared facts for each venue."""
