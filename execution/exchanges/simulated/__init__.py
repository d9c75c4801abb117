"""Venues that are not there: real HTTP servers on this machine that behave, and misbehave, as venues do."""
