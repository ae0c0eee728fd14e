"""What an assistant may ask of Stoker over the Model Context Protocol: `stoker mcp`, extra `mcp`.

It reads what a viewer may read, changes nothing, and shows no payload. Each question is a row of the audit.
"""
