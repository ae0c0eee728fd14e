"""The benchmark: `python -m bench`, a report of how Stoker compares with what people use.

Peers run as processes of a virtual environment of their own, so this package imports nothing by itself.
"""
