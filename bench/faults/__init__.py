"""Faults drawn at random over the example application, and which command finds each of them."""
