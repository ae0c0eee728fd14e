"""What each contract does. Imported by the worker, never by a web app."""
