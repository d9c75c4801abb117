"""How do signals from other programs come in?"""
