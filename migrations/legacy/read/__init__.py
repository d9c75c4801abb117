"""Which data does the legacy database contain? `source` copies it, `schema` lists its tables, `cells` parses values."""
