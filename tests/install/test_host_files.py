"""Changes of JSON texts in place."""

from __future__ import annotations

import pytest

from luma_mcp.install.config import REMOVED, JsonDocument

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
        # The brace must not become part of the comment on the line before.
        ('{"servers": {\n  "a": 1, // a\n  "luma": {} }}', '{"servers": {\n  "a": 1 // a\n   }}'),
        ('{"servers": {\n  "a": 1, /* a */\n  "luma": {} }}', '{"servers": {\n  "a": 1 /* a */ }}'),
        # All comments stay, even those about our entry.
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
def test_member_is_removed_with_its_line_and_comma(before: str, after: str) -> None:
    assert JsonDocument.parse(before).remove(PATH) == after
    JsonDocument.parse(after)


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
def test_new_values_have_the_format_of_the_text_around_them(before: str, after: str) -> None:
    assert JsonDocument.parse(before).set_value((*PATH, "b"), ["c"]) == after
    assert JsonDocument.parse(before).update(PATH, [(("b",), ["c"])]) == after


def test_equal_value_keeps_its_spelling() -> None:
    text = '{\n  "servers": {\n    "luma": {"b": [ "\\u0063", // c\n    ]}\n  }\n}'
    assert JsonDocument.parse(text).set_value((*PATH, "b"), ["c"]) == text


def test_several_changes_of_one_member() -> None:
    before = """{
    "servers": {
        "luma": {
            "a": 1, // one
            "b": {}
        }
    }
}""".replace("\n", "\r\n")
    changes = [(("a",), REMOVED), (("b", "c"), "x"), (("d",), [2])]
    after = JsonDocument.parse(before).update(PATH, changes)
    assert JsonDocument.parse(after).value["servers"]["luma"] == {"b": {"c": "x"}, "d": [("number", "2")]}
    assert "\n" not in after.replace("\r\n", "")
    assert '\r\n            "d": [\r\n                2\r\n            ]\r\n' in after
    assert "// one" in after
