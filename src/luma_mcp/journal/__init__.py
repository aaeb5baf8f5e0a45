"""Record of the orders made on this machine: `protocol.py` defines it, `sqlite.py` implements it."""
