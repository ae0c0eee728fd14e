"""The domain of the operator's drill: notes that anybody may change, with a rule and without a capture."""

from __future__ import annotations

from tests.support.notes import Notes

domain = Notes().domain
