"""How fast is Daybook, compared with the raw limits of the same machine?"""
