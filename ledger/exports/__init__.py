"""How do other programs read the ledger?"""
