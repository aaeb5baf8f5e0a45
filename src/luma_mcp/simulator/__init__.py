"""Stands in for the Luma API: for the demo, for trying without a token, and for tests."""
