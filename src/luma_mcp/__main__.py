"""`python -m luma_mcp` is `luma-ray-mcp`."""

from luma_mcp.cli.main import main

if __name__ == "__main__":
    main(prog_name="luma-ray-mcp")
