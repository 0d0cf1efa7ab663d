"""Products of whole numbers are the same to the bit by the kernel of int8 and by that of float32, whatever the processor."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.engines.decoder import EXACT, products_of

WIDE = st.one_of(st.integers(1, 40), st.sampled_from([EXACT - 1, EXACT, EXACT + 1, 2 * EXACT + 3]))


@pytest.mark.parametrize("floats", [False, True])
@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), WIDE, st.integers(1, 20), st.booleans())
def test_products_are_the_exact_sums_rounded_once(floats, seed, rows, wide, columns, extreme):
    rng = np.random.default_rng(seed)
    one, other = (rng.integers(-127, 128, shape).astype(np.float32) for shape in ((rows, wide), (wide, columns)))
    if extreme:
        one[0], other[:, 0] = 127, 127
    found = products_of(torch.from_numpy(other), floats)(torch.from_numpy(one))
    wanted = (one.astype(np.int64) @ other.astype(np.int64)).astype(np.float32)
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), wanted)
