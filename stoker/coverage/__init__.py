"""Which columns each view's loader reads, and whether anything records their changes: `stoker cover`.

`cover` asks Postgres what the loaders' own statements depend on. `mutate` changes each of those columns in
transactions that are rolled back, and compares every sample entry before and after. Neither touches Redis,
and nothing is ever committed.
"""
