"""How does a portfolio move in from the bot-coupled system, and back? `read`, `translate`, `load`, `check`, in this order."""
