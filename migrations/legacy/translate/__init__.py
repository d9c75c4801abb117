"""What does each legacy row become? Pure functions from rows to events, with a fate for every row."""
