"""The console: one page for operators, live, without a build step and without an asset of another host.

The page holds no data: everything it shows comes from the routes under /api that any client may ask.
"""
