"""Answers for web frameworks, and what HTTP says of them."""
