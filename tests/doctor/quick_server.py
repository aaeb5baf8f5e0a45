"""An MCP server that starts at once: `python -I -S quick_server.py NAME TOOL`. It answers both kinds of clients."""

import json
import sys

name, tool = sys.argv[1:3]
info = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": name, "version": "1"}}
tools = [{"name": tool, "inputSchema": {"type": "object"}}] if tool else []
# A client of 2026-07-28 requires more fields, and begins with this request.
listing = {"tools": tools, "resultType": "complete", "cacheScope": "private", "ttlMs": 0}
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = listing if message["method"] == "tools/list" else info
        response = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        sys.stdout.write(json.dumps(response) + "\n")
        sys.stdout.flush()
