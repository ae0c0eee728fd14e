"""What may stand in the place of a scope's kind where an event that a trigger recorded is stored.

No kind of scope has such a name. A trigger cannot ask a rule, which is the application's Python; the relay
asks it, and stores the scopes that it named.
"""

ASK_RULE = "?"
"""The event's rule names the scopes when it is applied. If it cannot, this is as EVERY_SCOPE."""
EVERY_SCOPE = "*"
"""The views of every scope that the cache knows; all views, if none is named."""
