"""How a job is stored in the queue Redis: arq's keys and dict as JSON, and the scripts that move it."""
