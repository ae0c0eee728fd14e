"""What each job does. Imported by the worker, never by a web app."""
