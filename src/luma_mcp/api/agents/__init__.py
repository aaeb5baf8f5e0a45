"""The client of Luma's own Agents API."""
