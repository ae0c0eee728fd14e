"""Captures: triggers by which the database itself records what changed in a table, whoever wrote it.

`declared` is what an application says, `table` what the database says of the table, `function` the SQL made
of both; `standing` compares that with what stands in the database, `install` brings it up to date.
docs/captures.md explains what is recorded when.
"""
