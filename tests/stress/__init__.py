"""Changes, builds and kills at random, until an update is lost or all are done: none may be.

`python -m tests.stress --changes 100000`; a few thousand run inside `make test`.
"""
