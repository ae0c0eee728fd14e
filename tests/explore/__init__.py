"""The explorer: the real cache protocol over every order of its steps, for small cases."""
