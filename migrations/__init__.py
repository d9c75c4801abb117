"""How does the schema change, and how are older systems imported?"""
