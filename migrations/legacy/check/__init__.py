"""Is every row accounted for, and every difference between legacy figures and the ledger explained?"""
