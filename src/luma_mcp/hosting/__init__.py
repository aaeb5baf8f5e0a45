"""Serves MCP over HTTP: who may call, on whose behalf, and how the server is operated. Nothing else imports it."""
