"""How does an exchange behave, faults included? HTTP servers on this machine that simulate exchanges."""
