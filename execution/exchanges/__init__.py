"""Venues, one small file each."""
