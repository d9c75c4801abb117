"""How do signals from other programs arrive?"""
