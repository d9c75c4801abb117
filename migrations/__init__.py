"""How the schema grows, and how old data becomes ours."""
