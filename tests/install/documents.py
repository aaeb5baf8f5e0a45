"""Configuration files without our entry, as hosts and people write them: the host and the text of each."""

from __future__ import annotations

import json
from textwrap import dedent

BOM = "\ufeff"


def _text(text: str) -> str:
    return dedent(text).lstrip("\n")


CLAUDE_DESKTOP = {
    "as Claude Desktop creates it": '{\n  "globalShortcut": "",\n  "mcpServers": {}\n}',
    "two servers": _text("""
        {
          "mcpServers": {
            "filesystem": {
              "command": "npx",
              "args": ["-y", "@modelcontextprotocol/server-filesystem", "/srv/files"]
            },
            "github": {
              "command": "docker",
              "args": ["run", "-i", "--rm", "-e", "GITHUB_PERSONAL_ACCESS_TOKEN", "ghcr.io/github/github-mcp-server"],
              "env": { "GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_neighbour" }
            }
          },
          "preferences": { "menuBarEnabled": false, "scale": 1.0 }
        }
        """),
    "tabs, no newline at the end": '{\n\t"mcpServers": {\n\t\t"time": {\n\t\t\t"command": "uvx"\n\t\t}\n\t}\n}',
    "four blanks, Windows' line ends, a byte order mark": BOM
    + '{\r\n    "mcpServers": {\r\n        "time": {"command": "C:\\\\uvx.exe"}\r\n    },\r\n    "a": 1e400\r\n}\r\n',
    "in one line": '{"scale":1.50,"mcpServers":{"time":{"command":"uvx","args":["mcp-server-time"]}},"theme":"dark"}',
    "in one line, with blanks": '{"mcpServers": {"time": {"command": "uvx"}}, "theme": "dark"}\n',
    "servers of one line each": _text("""
        {
          "mcpServers": {
            "a": {"command": "a"},
            "b": {"command": "b"}
          }
        }
        """),
    "servers in one line": '{\n  "mcpServers": {"a": {"command": "a"}, "b": {"command": "b"}},\n  "z": null\n}\n',
    "braces as strings": _text("""
        {
          "note": "}, \\"mcpServers\\": { // no /* comment",
          "mcpServers": {
            "x": {"command": "}"}
          }
        }
        """),
    "people's names": _text("""
        {
          "naïve ключ 🦊": "雪",
          "mcpServers": {
            "лиса": {"command": "лиса", "args": ["\\u2603"]}
          }
        }
        """),
}
CLAUDE_CODE = {
    "projects with servers of their own": _text("""
        {
          "numStartups": 184,
          "tipsHistory": {"new-user-warmup": 3},
          "projects": {
            "/srv/fox": {
              "allowedTools": [],
              "mcpServers": {"luma": {"type": "stdio", "command": "other", "args": [], "env": {}}},
              "lastCost": 0.10000000000000000555,
              "history": [{"display": "add \\"mcpServers\\": { to it", "pastedContents": {}}]
            }
          },
          "mcpServers": {
            "sentry": {"type": "http", "url": "https://mcp.example.com/mcp"}
          },
          "oauthAccount": {"emailAddress": "fox@example.com"}
        }
        """),
    "hundreds of projects": json.dumps(
        {
            "numStartups": 9,
            "mcpServers": {"time": {"type": "stdio", "command": "uvx"}},
            "projects": {
                f"/srv/{n}": {"history": [{"display": f"prompt {n} " * 9}] * 20, "mcpServers": {}} for n in range(300)
            },
        },
        indent=2,
    ),
}
CURSOR = {
    "comments everywhere": _text("""
        // my servers
        {
          /* "mcpServers": { "old": {} } */
          "mcpServers": {
            // the first
            "time": { "command": "uvx" }, // a remark, with "quotes" and a }
            "github": {
              "command": "npx", // inside
              "env": { "TOKEN": "ghp_neighbour" /* secret */ },
            } /* behind */ // and again
            // nothing more
          },
        } // the end
        """),
    "a trailing comma": '{\n  "mcpServers": {\n    "time": {"command": "uvx"},\n  },\n}\n',
    "a trailing comma on the next line": '{\n  "mcpServers": {\n    "time": {"command": "uvx"}\n    , // odd\n  }\n}\n',
    "no servers, and a comment about it": '{\n  "mcpServers": {\n    // none yet\n  }\n}\n',
    "no servers, and a comment beside": '{\n  "mcpServers": { /* none yet */ }\n}\n',
    "a comment after a brace on the last line": '{\n  "mcpServers": {\n    "time": {"command": "uvx"} /* x */ }}',
}
VSCODE = {
    "inputs": _text("""
        {
        \t// asked once
        \t"inputs": [
        \t\t{"type": "promptString", "id": "key", "description": "API key", "password": true},
        \t],
        \t"servers": {
        \t\t"playwright": {
        \t\t\t"type": "stdio",
        \t\t\t"command": "npx",
        \t\t\t"args": ["@playwright/mcp@latest"],
        \t\t\t"env": {"KEY": "${input:key}"}
        \t\t}
        \t}
        }
        """),
    "the other order": '{\n  "servers": {\n    "a": {"url": "https://mcp.example.com"}\n  },\n  "inputs": []\n}\n',
}
WINDSURF = {
    "disabled servers": _text("""
        {
          "mcpServers": {
            "memory": {
              "command": "npx",
              "args": ["-y", "@modelcontextprotocol/server-memory"],
              "disabled": true,
              "disabledTools": ["read_graph"]
            }
          }
        }
        """),
}
GEMINI = {
    "all sections": _text("""
        {
          "general": {"vimMode": true}, // as I like it
          "ui": {
            "theme": "GitHub"
          },
          "mcpServers": {
            "time": {
              "command": "uvx",
              "timeout": 30000,
              "trust": false
            }
          },
          "mcp": {"allowed": ["time", "luma"]},
          "telemetry": {"enabled": false}
        }
        """),
}
CODEX = {
    "as Codex makes it": _text("""
        model = "gpt-5-codex"
        approval_policy = "on-request" # for now

        [projects."/srv/fox"]
        trust_level = "trusted"
        """),
    "servers and comments": _text("""
        # mine
        [mcp_servers.context7]
        command = "npx"   # Node
        args = [
          "-y", # yes
          "@upstash/context7-mcp",
        ]

        [mcp_servers.context7.env]
        API_KEY = 'ghp_neighbour'

        # how I work
        [profiles.fast]
        model = "gpt-5"

        """),
    "dotted keys": 'mcp_servers.time.command = "uvx"\nmcp_servers.time.env.TZ = "UTC"\nmodel = "x"\n',
    "inline tables": '[mcp_servers]\ntime = { command = "uvx", args = ["x"] } # one line\n\n[tui]\nx = nan\n',
    "all in one inline table": 'model = "x"\nmcp_servers = { time = { command = "uvx" } } # all\n[tui]\n',
    "headers in strings": 'notes = """\n[mcp_servers.luma]\ncommand = "no" # no\n"""\nlist = [\n  ["[a]"], # ]\n]\n',
    "quoted names": '[mcp_servers."my server"]\ncommand = "a"\n[mcp_servers.\'x.luma\']\ncommand = "b"\n',
    "Windows' line ends, a byte order mark": BOM + 'model = "x"\r\n\r\n[mcp_servers.a]\r\ncommand = "C:\\\\a.exe"\r\n',
    "no newline at the end": '[mcp_servers.a]\ncommand = "a"',
    "inline tables over lines (TOML 1.1)": _text("""
        tools = {
          web_search = true, # yes
          paths = ["a", "b",],
        }

        [mcp_servers.time]
        command = "uvx"
        env = {
          TZ = "UTC",
        }
        """),
    "escapes (TOML 1.1)": '[tui]\nprompt = "\\e[1m\\x41" # bold\n\n[mcp_servers.a]\ncommand = "a"\n',
    "times without seconds (TOML 1.1)": "[limits]\nfrom = 07:32\nuntil = 2026-11-25 18:00\nnext = 2026-11-26T08:00Z\n",
    "a list of tables": "[[hooks]]\nrun = 1\n\n[[hooks]]\nrun = 2 # last\n",
}
DOCUMENTS = {
    "claude-desktop": CLAUDE_DESKTOP,
    "claude-code": CLAUDE_CODE,
    "cursor": CURSOR,
    "vscode": VSCODE,
    "windsurf": WINDSURF,
    "gemini-cli": GEMINI,
    "codex": CODEX,
}
KEYS = {"vscode": "servers", "codex": "mcp_servers"}
"""The name of the object with the servers, where it is not `mcpServers`."""
CASES = [(host, name) for host, documents in DOCUMENTS.items() for name in documents]
