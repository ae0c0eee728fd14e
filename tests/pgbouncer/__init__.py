"""Every part of Stoker with a PgBouncer in transaction mode between it and Postgres."""
