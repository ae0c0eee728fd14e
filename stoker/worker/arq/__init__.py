"""An arq application in a worker: its queue is read, run and ended as arq does it, on Stoker's engine."""
