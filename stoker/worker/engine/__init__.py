"""arq made dependable: lanes, doorbell, claims, retries, dead letters, rescue (docs/decisions/0003)."""
