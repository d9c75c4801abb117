"""How are the log and its views kept in PostgreSQL?"""
