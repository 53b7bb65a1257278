"""Texts by how alike they are."""

from __future__ import annotations

import numpy as np

from sage_studio.similarity import SHOWN_CHARACTERS, cosines, similarity_options


def test_pairs_have_their_cosine_and_a_vector_of_nothing_has_none() -> None:
    alike = cosines(np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 0.0]], dtype=np.float32))
    assert np.allclose(alike, [[1.0, 0.7071, 0.0], [0.7071, 1.0, 0.0], [0.0, 0.0, 0.0]], atol=1e-4)


def test_the_map_has_a_cell_for_each_pair_and_long_texts_are_cut() -> None:
    options = similarity_options(["short", "x" * 100], np.array([[1.0, 0.25], [0.25, 1.0]], dtype=np.float32))
    assert options["series"][0]["data"] == [[0, 0, 1.0], [1, 0, 0.25], [0, 1, 0.25], [1, 1, 1.0]]
    assert [len(name) for name in options["xAxis"]["data"]] == [5, SHOWN_CHARACTERS]
