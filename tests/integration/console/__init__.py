"""What the console asks of the API."""
