"""What a process reports about itself: log lines, metrics, traces, health, and an endpoint for them."""
