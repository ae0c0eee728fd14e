"""Whatever lies in Redis or in an event's row: decoders raise what they declare, lanes and the API go on.

`FUZZ` multiplies the number of cases: `make fuzz` runs a hundred times as many.
"""
