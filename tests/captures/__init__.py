"""Captures on a real Postgres: what each kind of statement records, and what becomes of it."""
