"""Stand-in for the Luma API: for the demo, for trying the server without a token, and for tests."""
