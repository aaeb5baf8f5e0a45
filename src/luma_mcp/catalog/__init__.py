"""What can be made with each API: one catalog per API, as a value."""
