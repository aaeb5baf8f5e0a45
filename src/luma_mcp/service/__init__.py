"""From words to files: what the server's tools and the terminal's commands both do, and neither owns."""
