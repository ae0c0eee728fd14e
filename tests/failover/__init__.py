"""A Postgres that fails over to its replica, and replicas that are not to be used."""
