"""An MCP server that starts quickly: `python -I -S quick_server.py NAME TOOL`. It supports both protocol versions."""

import json
import sys

name, tool = sys.argv[1:3]
info = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": name, "version": "1"}}
tools = [{"name": tool, "inputSchema": {"type": "object"}}] if tool else []
# The first request of a client of 2026-07-28, which requires more fields.
listing = {"tools": tools, "resultType": "complete", "cacheScope": "private", "ttlMs": 0}
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = listing if message["method"] == "tools/list" else info
        response = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        sys.stdout.write(json.dumps(response) + "\n")
        sys.stdout.flush()
