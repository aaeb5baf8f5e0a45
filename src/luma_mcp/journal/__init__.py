"""Record of orders: `protocol.py` defines it; `sqlite.py` keeps it in a file, `postgres.py` in a database."""
