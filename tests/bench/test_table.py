"""What is printed of a figure."""

from __future__ import annotations

import json

from bench.table import Figure, Limits, markdown, ratio

FASTER = Limits(must=1.0, aim=1.4)
SMALLER = Limits(must=60, aim=45, unit="MB", at_least=False)


def test_a_figure_says_how_far_it_gets() -> None:
    assert [FASTER.met(number) for number in (0.99, 1.0, 1.39, 1.4)] == ["no", "must", "must", "aim"]
    assert [SMALLER.met(number) for number in (60.1, 60, 45.1, 45)] == ["no", "must", "must", "aim"]


def test_a_ratio_is_of_the_medians_and_its_spread_of_the_rounds() -> None:
    figure = ratio("x", [2.0, 4.0, 9.0], [2.0, 2.0, 3.0], unit="MB/s", against="ssh", limits=FASTER)
    assert figure.row() == ["x", "2.00 = 4 MB/s", "1.00 … 3.00", "ssh 2 MB/s", "≥ 1", "≥ 1.4", "aim"]


def test_every_sample_is_in_the_json() -> None:
    figure = ratio("x", [2.0, 4.0], [2.0, 2.0], unit="MB/s", against="ssh", limits=SMALLER)
    document = json.loads(json.dumps(figure.document()))
    assert document["samples"] == {"tunnels": [2.0, 4.0], "ssh": [2.0, 2.0]}
    assert document["limits"] == {"must": 60, "aim": 45, "unit": "MB", "at_least": False}
    assert document["met"] == "aim"


def test_the_markdown_is_one_table() -> None:
    lines = markdown([Figure("a|b", "1"), Figure("c", "2", number=50, limits=SMALLER)]).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {8}
    assert lines[3] == "| c | 2 |  |  | ≤ 60 MB | ≤ 45 MB | must |"
