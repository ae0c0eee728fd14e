"""The queue's Lua scripts, line by line: each line that is taken away makes a scenario fail."""
