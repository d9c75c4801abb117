"""Moving in from the bot-coupled system: read (`source.py`), translate (`translate.py`, pure), report (`report.py`)."""
