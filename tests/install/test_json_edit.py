"""What is left when our entry was written by somebody else, in a place of their choice."""

from __future__ import annotations

import pytest

from luma_mcp.install import json_edit

PATH = ("servers", "luma")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"servers": {"luma": {}}}', '{"servers": {}}'),
        ('{"servers": { "luma": {}, }}', '{"servers": {}}'),
        ('{"servers": {"luma": {}, "a": 1}}', '{"servers": {"a": 1}}'),
        ('{"servers": {"a": 1, "luma": {}, "b": 2}}', '{"servers": {"a": 1, "b": 2}}'),
        ('{"servers": {"a": 1, "luma": {}}}', '{"servers": {"a": 1}}'),
        ('{"servers": {\n  "luma": {},\n  "a": 1\n}}', '{"servers": {\n  "a": 1\n}}'),
        ('{"servers": {\n  "a": 1,\n  "luma": {}\n}}', '{"servers": {\n  "a": 1\n}}'),
        ('{"servers": {\n  "a": 1,\n  "luma": {},\n}}', '{"servers": {\n  "a": 1,\n}}'),
        ('{"servers": {\n  "a": 1,\r\n  "luma": {}\r\n}}', '{"servers": {\n  "a": 1\r\n}}'),
        # A brace must not get into the comment of the line before.
        ('{"servers": {\n  "a": 1, // a\n  "luma": {} }}', '{"servers": {\n  "a": 1 // a\n   }}'),
        ('{"servers": {\n  "a": 1, /* a */\n  "luma": {} }}', '{"servers": {\n  "a": 1 /* a */ }}'),
        # Comments stay, also those about us.
        ('{"servers": {\n  // us\n  "luma": {}, // us\n  "a": 1\n}}', '{"servers": {\n  // us\n  // us\n  "a": 1\n}}'),
        ('{"servers": {\n  // us\n  "luma": {}\n}}', '{"servers": {\n  // us\n}}'),
        ('{"servers": {"luma": {} /* us */ , "a": 1}}', '{"servers": {/* us */  "a": 1}}'),
        ('{"servers": {"a": 1}}', '{"servers": {"a": 1}}'),
        ('{"servers": {"a": {"luma": 1}}, "luma": 2}', '{"servers": {"a": {"luma": 1}}, "luma": 2}'),
        ("{}", "{}"),
        ("", ""),
        ("// nothing\n", "// nothing\n"),
    ],
)
def test_one_member_goes_with_its_line_and_its_comma(before: str, after: str) -> None:
    assert json_edit.cut(before, PATH) == after
    json_edit.load(after, comments=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"servers":{"luma":{"a":1}}}', '{"servers":{"luma":{"a":1,"b":["c"]}}}'),
        ('{"servers": {"luma": {}}}', '{"servers": {"luma": {"b": ["c"]}}}'),
        (
            '{\n\t"servers": {\n\t\t"luma": {}\n\t}\n}',
            '{\n\t"servers": {\n\t\t"luma": {\n\t\t\t"b": [\n\t\t\t\t"c"\n\t\t\t]\n\t\t}\n\t}\n}',
        ),
        ('{"servers": {"luma": {"b" : /* old */ [ ] }}}', '{"servers": {"luma": {"b" : /* old */ ["c"] }}}'),
    ],
)
def test_what_comes_in_looks_like_what_is_around_it(before: str, after: str) -> None:
    assert json_edit.put(before, (*PATH, "b"), ["c"]) == after


def test_a_value_that_is_said_already_stays_as_it_is_written() -> None:
    text = '{\n  "servers": {\n    "luma": {"b": [ "\\u0063", // c\n    ]}\n  }\n}'
    assert json_edit.put(text, (*PATH, "b"), ["c"]) == text
