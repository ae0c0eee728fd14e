"""A few tests on the Redis that Debian packages."""
