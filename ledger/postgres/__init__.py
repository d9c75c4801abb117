"""How are the log and its views kept in PostgreSQL?

Read `log` (append and read events), `views` (the rows of projections), `book` (both in one transaction), `database` and
`embedded` (connections and the server), `leadership` and `halt_lock`; the other modules are one table each.
"""
