"""Check the setup and suggest fixes: the command `doctor`. Nothing is ordered or changed."""
