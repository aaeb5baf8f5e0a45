"""Long TOML files are read in one go."""

from __future__ import annotations

import time

import pytest

from luma_mcp.install.toml import statements


def seconds(projects: int, attempt: int) -> float:
    text = f"# {attempt}\n" + "".join(f'[projects."/srv/{n}"]\ntrust_level = "yes" # {n}\n\n' for n in range(projects))
    start = time.process_time()
    assert len(statements(text)) == projects * 2
    return time.process_time() - start


def test_forty_times_the_projects_take_about_forty_times_as_long() -> None:
    seconds(50, 0)
    short = min(seconds(500, attempt) for attempt in range(4))
    assert min(seconds(20_000, attempt) for attempt in range(2)) < 120 * short


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.b-c.d_1=1", ("a", "b-c", "d_1")),
        ("a . b = 1", ("a", "b")),
        ('a."b.c"=1', ("a", "b.c")),
        ("[a.b]", ("a", "b")),
        ("[ a . 'b.c' ] # d", ("a", "b.c")),
        ("[[a.b]]", ("a", "b")),
        ("1 = 1", ("1",)),
    ],
)
def test_a_name_is_read_however_it_is_written(text: str, path: tuple[str, ...]) -> None:
    [statement] = statements(text)
    assert statement.path == path
