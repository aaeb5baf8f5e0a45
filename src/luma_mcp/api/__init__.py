"""Speaks HTTP to the Luma API; has never heard of MCP."""
