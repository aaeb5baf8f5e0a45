"""The MCP server: tools, resources, prompts, and all texts for agents."""
