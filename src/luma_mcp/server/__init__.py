"""Speaks MCP; has never heard of HTTP status codes."""
