"""The cache protocol: views, keys, stamps, envelope, guarded store, read-through. Knows no domain.

`view` and `catalog` declare, `keys` names, `envelope` packs and seals. `lookup` reads what Redis holds and
judges it; `store` changes it (begin, store, unlink); `fill` builds entries; `read` is the pipeline of a read.
`breaker` decides whether the cache may be asked at all, `accounting` counts. Connections are in stoker/redis.
"""
