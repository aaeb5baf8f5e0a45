"""HTTP clients of the video APIs. They share transport, retries and polling; each API has a package of its own."""
