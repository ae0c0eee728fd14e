"""The API of a small domain: what it does, tells, and to whom."""
