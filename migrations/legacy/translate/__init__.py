"""Which events follow from each legacy row? Pure functions from rows to events, with a fate for every row."""
