"""What was received and what became of it: the log, the schema, the SQL.

`store` alone contains SQL. It knows nothing of the wire (`protocol`) and decides nothing (`alerts`,
`tickets`).
"""
