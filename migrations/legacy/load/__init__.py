"""Which events are missing in the log? `staging` translates, `logged` compares with the log, `run` imports."""
