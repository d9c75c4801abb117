"""Is every row accounted for, and every difference between the legacy figures and the ledger explained?"""
