"""What runs beside the benchmark's driver, each a process that answers JSON lines (`protocol`)."""
