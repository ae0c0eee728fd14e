"""The processes of this application: `python -m worker` is `stoker` with its demonstration."""
