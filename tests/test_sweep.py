"""Random models the whole way: front end against oracle, then the C simulation against the interpreter."""

from __future__ import annotations

import pytest

from tests.sweep import judge_seed


@pytest.mark.parametrize("seed", [3, 20])
def test_a_random_model_is_exact_in_the_c_simulation(seed: int) -> None:
    row = judge_seed(seed, through_hls=True)
    assert row.verdict == "built", row.reason


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200))
def test_two_hundred_random_models(seed: int) -> None:
    row = judge_seed(seed, through_hls=True)
    assert row.verdict == "built" or (row.verdict == "refused" and row.refusable), row.reason
