"""Interleavings that have made a real cache wrong, each shown to do so when its guard is removed."""
