"""How does an exchange behave, including faults? Simulated exchanges as local HTTP servers."""
