"""How does Daybook trade at a real exchange?"""
