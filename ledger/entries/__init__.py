"""Which events may be recorded by hand, and what makes one impossible?"""
