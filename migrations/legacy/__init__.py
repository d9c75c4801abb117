"""How is a portfolio imported from the bot-coupled system? `read`, `translate`, `load`, `check`, in this order."""
