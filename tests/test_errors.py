"""The tree of errors is complete: one class for each kind, each drawn in the module's docstring."""

from __future__ import annotations

from typing import get_args

from luma_mcp import errors
from luma_mcp.errors import Kind, LumaError, Retry

CLASSES = LumaError.__subclasses__()


def test_every_kind_has_its_one_class() -> None:
    assert sorted(c.kind for c in CLASSES) == sorted(get_args(Kind))
    assert {c.retry for c in CLASSES} <= set(get_args(Retry))


def test_every_class_is_drawn_in_the_docstring() -> None:
    assert errors.__doc__ is not None
    drawn = [line.split()[1] for line in errors.__doc__.splitlines() if line[:1] in "├└" and line]
    assert sorted(drawn) == sorted(c.__name__ for c in CLASSES)


def test_an_order_s_unknown_outcome_is_the_one_error_after_which_nothing_may_be_sent_again_but_a_foreign_job_s() -> (
    None
):
    assert {c.kind for c in CLASSES if c.retry == "never"} == {"outcome_unknown", "forbidden"}
