"""The parts of the embedding benchmark that can be wrong without anybody noticing."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from sage_benchmark.embed.embed_benchmark import EmbedPlan, EmbedResult, quick_plan
from sage_benchmark.embed.embed_report import render_markdown
from sage_benchmark.embed.similarity import cosines, read_sts, spearman
from sage_benchmark.embed.texts import mixed_texts, short_texts
from sage_benchmark.report.bars import Bar


def test_texts_are_distinct_of_mixed_lengths_and_the_same_for_the_same_seed() -> None:
    texts = mixed_texts(500, 1)
    assert texts == mixed_texts(500, 1) != mixed_texts(500, 2)
    assert len(set(texts)) == 500
    words = [len(text.split()) for text in texts]
    assert (min(words), max(words)) == (3, 240)
    assert 15 < sorted(words)[250] < 35
    assert {len(text.split()) for text in short_texts(9, 1)} == {8}


def test_spearman_goes_by_ranks_and_shares_those_of_equal_values() -> None:
    a = np.array([1.0, 2.0, 3.0, 10.0])
    assert spearman(a, np.array([1.0, 4.0, 9.0, 16.0])) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    # By hand: ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
    assert spearman(np.array([1.0, 5.0, 5.0, 9.0]), a) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_cosines_do_not_depend_on_lengths() -> None:
    a = np.array([[1, 0], [1, 1]], dtype=np.float32)
    assert cosines(a, 3 * a) == pytest.approx([1, 1])
    assert cosines(a, a[::-1]) == pytest.approx([2**-0.5, 2**-0.5])


def test_only_the_test_split_is_read(tmp_path: Path) -> None:
    rows = ["split\tscore\tsentence1\tsentence2", 'test\t4.5\tsay "hi"\tb', "train\t1\tc\td", "test\t0\te\tf"]
    file = tmp_path / "sts.tsv.gz"
    file.write_bytes(gzip.compress("\n".join(rows).encode()))
    pairs = read_sts(file)
    assert (pairs.first, pairs.second, pairs.scores.tolist()) == (['say "hi"', "e"], ["b", "f"], [4.5, 0])


def test_the_report_says_what_was_missed_and_what_was_left_out() -> None:
    result = EmbedResult(EmbedPlan(), offline={"backend": "torch"}, rates={"offline": 10.0, "requests of 32": 9.0})
    result.bars = [Bar("near", 0.9, 0.95, "×", at_most=False), Bar("added", 1.0, 2.0, "ms")]
    result.left_out = ["peers: none"]
    text = render_markdown(result)
    assert "| near | 0.9 × | ≥ 0.95 × | **no** |" in text
    assert "| added | 1 ms | ≤ 2 ms | yes |" in text
    assert "Left out: peers: none" in text
    assert [bar["reached"] for bar in result.to_json()["bars"]] == [False, True]


def test_the_quick_plan_keeps_what_was_asked_for(tmp_path: Path) -> None:
    plan = EmbedPlan(seed=3, backend="torch-bert", sts=tmp_path, infinity_python=tmp_path)
    quick = quick_plan(plan)
    assert (quick.seed, quick.backend, quick.sts, quick.infinity_python) == (3, "torch-bert", tmp_path, tmp_path)
    assert quick.texts < plan.texts
