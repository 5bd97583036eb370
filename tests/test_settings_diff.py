"""Comparison of stored and present settings, and the text that names the differences."""

from __future__ import annotations

import doctest
import json
import math

import pytest

from vocalgen import settings_diff
from vocalgen.settings_diff import LISTED, Difference, describe, differences, flatten


def test_settings_diff_examples_hold() -> None:
    assert doctest.testmod(settings_diff) == doctest.TestResults(0, 2)


def test_flatten_numbers_sections_in_lists_and_keeps_flat_names() -> None:
    nested = {"a": {"b": {"c": 1}}, "parts": [{"x": 1}, 2], "none": None, "sizes": (1, 2)}
    flat = {"a.b.c": 1, "parts.1.x": 1, "parts.2": 2, "none": None, "sizes": (1, 2)}
    assert flatten(nested) == flat
    assert flatten(flat) == flat


def test_differences_are_sorted_and_keep_equal_inner_names_apart() -> None:
    found = differences({"b": {"steps": 1}, "a": {"steps": 1}}, {"b": {"steps": 2}, "a": {"steps": 3}})
    assert found == [Difference("a.steps", 1, 3), Difference("b.steps", 1, 2)]


def test_an_absent_setting_equals_none_and_differs_from_others() -> None:
    assert differences({"duration": None}, {}) == []
    assert describe(differences({}, {"duration": 0.5})) == "duration: not set there, 0.5 now"
    assert describe(differences({"trim": False}, {})) == "trim: false there, not set now"


def test_nan_equals_nan() -> None:
    assert differences({"rate": math.nan}, {"rate": float("nan")}) == []
    assert differences({"rate": math.nan}, {"rate": 1.0}) != []


def test_json_does_not_change_settings() -> None:
    settings = {"rate": 0.1, "steps": [1, 2], "model": {"name": "é", "parts": [{"x": None}]}}
    assert differences(json.loads(json.dumps(settings)), settings) == []


@pytest.mark.parametrize("digits", [32, 64])
def test_checksums_are_shortened_and_words_are_not(digits: int) -> None:
    assert str(Difference("sum", "a" * digits, "b" * digits)) == f"sum: {'a' * 16} there, {'b' * 16} now"
    assert str(Difference("name", "n" * digits, "é")) == f"name: {'n' * digits} there, é now"


def test_describe_counts_what_it_does_not_name() -> None:
    found = differences({}, {f"s{place}": place for place in range(LISTED + 2)})
    assert describe(found).endswith("s4: not set there, 4 now; 2 more")
    assert "more" not in describe(found[:LISTED])
