"""Do the stored views follow from the log?

`verify` compares and rebuilds views, `history` folds the log up to a point in time, `differences` holds the results,
`parallel` runs many portfolios at once, and `fast` is the replay of long logs.
"""
