"""Which events may be recorded by hand, and why is one refused?"""
