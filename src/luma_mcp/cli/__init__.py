"""For people: the commands of `luma-mcp`."""
