"""For people: the commands of `luma-ray-mcp`."""
