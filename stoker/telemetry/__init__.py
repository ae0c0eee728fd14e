"""What a process tells of itself: log lines, metrics, traces, health, and the endpoint that serves them."""
