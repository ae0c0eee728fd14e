"""The cache protocol: views, keys, stamps, envelope, guarded store, read-through. Knows no domain.

`view` declares, `keys` names, `client` talks to the server, `envelope` packs, `store` holds the four steps
that touch Redis (fetch, begin, store, unlink), `fill` builds entries, `read` puts it together; `breaker`
decides when the cache may be asked at all, `accounting` counts what happened.
"""
