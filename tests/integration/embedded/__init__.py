"""The servers that Stoker runs itself."""
