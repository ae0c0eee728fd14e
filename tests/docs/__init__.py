"""The documentation: what makes the API reference, and what keeps the pages true."""
