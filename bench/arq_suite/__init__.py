"""arq's own test suite, run against Stoker's engine: `make arq-suite`.

The suite is downloaded, never committed. Where it makes a Worker, it gets one whose engine is Stoker's
(worker.py); servers and a few fixtures are given to it (plugin.py). reasons.py says why tests do not pass.
"""
