"""The console: one live page for operators, without a build step and without assets of other hosts.

The page holds no data: everything it shows comes from routes under /api, which are open to any client.
"""
