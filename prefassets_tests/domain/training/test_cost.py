"""Predictions are what a person works out on paper from the same numbers."""

import pytest

from prefassets.domain.training.cost import MemoryOfPack, Trained, expected_tokens, rate


def trained(seconds, tokens=1_000, cells_in_pack=8, method="dpo", device="cpu"):
    return Trained(method, device, cells_in_pack, tokens, seconds)


def test_a_cell_reads_its_mean_pair_as_often_as_it_takes_pairs():
    assert (
        expected_tokens([30, 50, 100], steps=10, batch_size=3) == 1_800
    )  # 30 pairs of 60: each of the three ten times


def test_a_rate_is_all_seconds_over_all_tokens():
    found = rate([trained(2.0), trained(4.0, tokens=3_000)], "cpu", "dpo", 8)
    assert found.seconds_per_token == 6 / 4_000
    assert found.cells == 2
    assert found.seconds(2_000) == 3.0


def test_one_device_says_nothing_about_another():
    on_both = [trained(9.0, device="cpu"), trained(1.0, device="cuda:0")]
    assert rate(on_both, "cuda:0", "dpo", 8).seconds_per_token == 0.001
    assert rate(on_both, "mps", "dpo", 8) is None


def test_the_same_method_goes_before_the_same_pack_size_and_both_are_told():
    cells = [trained(9.0, method="wpo", cells_in_pack=8), trained(5.0, cells_in_pack=1)]
    found = rate(cells, "cpu", "dpo", 8)
    assert (found.method, found.cells_in_pack, found.seconds_per_token) == ("dpo", 1, 0.005)
    assert rate(cells[:1], "cpu", "dpo", 8).method == "wpo"


@pytest.mark.parametrize(("wanted", "nearest"), [(1, 1), (2, 4), (3, 4), (16, 16), (32, 16)])
def test_the_rate_of_the_nearest_pack_size_is_taken_by_ratio(wanted, nearest):
    cells = [trained(6.0, cells_in_pack=1), trained(4.0, cells_in_pack=4), trained(3.0, cells_in_pack=16)]
    assert rate(cells, "cpu", "dpo", wanted).cells_in_pack == nearest


def test_old_cells_do_not_count_beside_enough_new_ones():
    found = rate([trained(1.0)] * 32 + [trained(100.0)] * 50, "cpu", "dpo", 8)
    assert (found.seconds_per_token, found.cells) == (0.001, 32)


def test_packs_save_what_one_by_one_takes_longer():
    packed, alone = (rate([trained(seconds)], "cpu", "dpo", 8) for seconds in (3.0, 12.0))
    assert packed.share_saved(alone) == 0.75
    assert alone.share_saved(packed) == -3


def test_a_pack_has_one_base_model():
    pack = MemoryOfPack(cells=4, base_model=1_000, of_adapter=30, activations=200, for_logits=5, free=10_000)
    assert pack.needed == 1_325
