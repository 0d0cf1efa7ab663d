"""Names of parts: their order, whatever the cut, and which of them may hold one id."""

import random

from cluster.parts import order, overlap


def test_parts_stand_by_input_and_then_by_id_however_finely_each_is_cut():
    wanted = ["00000-of-00002", "00001-of-00002", "00000-of-00004@1", "00001-of-00004@1", "00003-of-00004@1", "00000-of-00001@2"]
    turned = random.Random(0).sample(wanted, len(wanted))
    assert sorted(turned, key=order) == wanted
    nested = ["00000-of-00002@0@0", "00001-of-00002@0@0", "00000-of-00002@1@0", "00001-of-00002@1@0", "00000-of-00002@0@1"]
    assert sorted(nested[::-1], key=order) == nested


def test_parts_of_two_cuts_overlap_where_their_ranges_do():
    assert overlap("00000-of-00002", "00001-of-00004@1") and not overlap("00000-of-00002", "00002-of-00004")
