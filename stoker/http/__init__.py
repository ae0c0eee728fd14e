"""Answers for web frameworks: a reading as an HTTP response, and an error of Stoker as one.

Nothing here needs a framework: `answer` takes any request that has `method` and `headers` (those of
Starlette, FastAPI, Flask and Django do), and gives a status, headers and a body. With `stoker.http.starlette`
an endpoint of FastAPI or Starlette is one line.
"""

from stoker.http.answers import HttpAnswer, answer
from stoker.http.failures import failure, status_of

__all__ = ["HttpAnswer", "answer", "failure", "status_of"]
