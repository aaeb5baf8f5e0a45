"""Serves MCP over HTTP: authentication, tenants and operation of the server. Only the command line imports it."""
