"""What goes into the log, and what does it already hold? Staging, comparison with the log, and the import itself."""
