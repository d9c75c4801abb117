"""Do the stored views follow from the log?"""
