"""Cells trained together are the cells that TRL trains one by one, whatever else is in their pack."""

import time
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, replace
from itertools import pairwise, product
from types import SimpleNamespace

import peft
import pytest
import torch
from safetensors.torch import load
from torch.nn.functional import scaled_dot_product_attention

from prefassets.domain.training import cell_run, cores, packed_engine, pair_batch, pair_reader, passes, stacked_lora
from prefassets.domain.training.completions import mean_alignment, output_head, response_tokens, sum_by_text
from prefassets.domain.training.encoding import encode_pairs
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.lora import initial_weights
from prefassets.domain.training.memory import Pack, memory_of_cell, pack_that_fits
from prefassets.domain.training.pair_batch import AdapterLayout, BatchSizes, lay_out, pad
from prefassets.domain.training.recipe import Lora
from prefassets.domain.training.stacked_lora import StackedLora, as_row
from prefassets.domain.training.train import FailedCell, FinishedCell, TrainingData, train_cells

LORA = Lora(rank=8, alpha=16)
WEIGHTS = ("weight_mean", "weight_min", "weight_clamped")


def by_key(cells, data, **options):
    return {outcome.key: outcome for outcome in train_cells(cells, data, **options)}


def weights_of(finished: FinishedCell):
    return load(finished.files["adapter_model.safetensors"])


def farthest(one: FinishedCell, other: FinishedCell) -> float:
    """The largest difference of any weight."""
    weights = weights_of(other)
    return max((weight - weights[name]).abs().max().item() for name, weight in weights_of(one).items())


def as_method(cell, method):
    return replace(cell, recipe=replace(cell.recipe, method=method))


@pytest.fixture(scope="module")
def mixed(cell):
    """Cells that differ in all that may differ within a pack."""
    return [
        cell("plain", seed=1, steps=6),
        as_method(cell("weighted", seed=1, steps=6), "wpo"),
        cell("other data", seed=2, steps=6, training_pairs=100),
        cell("larger batch", seed=3, steps=4, batch_size=12),
        cell("hotter", seed=4, steps=6, beta=0.3, learning_rate=2e-3, max_gradient_norm=0.1),
    ]


@pytest.fixture(scope="module")
def packed(mixed, data):
    return by_key(mixed, data)


def test_every_cell_of_a_mixed_pack_is_what_trl_trains(mixed, data, packed):
    assert {finished.cells_in_pack for finished in packed.values()} == {5}
    for key, by_trl in by_key(mixed, data, engine="trl").items():
        ours, theirs = packed[key].log, by_trl.log
        assert ours["loss"].to_list() == pytest.approx(theirs["loss"].to_list(), abs=1e-4), key
        assert ours["margin"].to_list() == pytest.approx(theirs["margin"].to_list(), abs=1e-4), key
        assert ours["learning_rate"].to_list() == pytest.approx(theirs["learning_rate"].to_list()), key
        assert farthest(packed[key], by_trl) < 1e-4, key
        assert packed[key].files["adapter_config.json"] == by_trl.files["adapter_config.json"]
        for column in WEIGHTS:
            if key == "weighted":
                assert ours[column].to_list() == pytest.approx(theirs[column].to_list(), abs=1e-4), column
            else:
                assert ours[column].null_count() == theirs[column].null_count() == len(ours), key


def test_weights_of_wpo_are_above_0_and_at_most_1_and_move_with_the_policy(packed):
    log = packed["weighted"].log
    assert (log["weight_min"] > 0).all()
    assert (log["weight_min"] <= log["weight_mean"]).all()
    assert (log["weight_mean"] <= 1).all()
    assert log["weight_mean"][-1] != log["weight_mean"][0]
    assert 0 <= log["weight_clamped"].min() < log["weight_clamped"].max() <= 1


def test_a_cell_in_a_pack_is_the_cell_alone(mixed, data, packed):
    for cell in mixed:
        (alone,) = train_cells([cell], data)
        assert alone.cells_in_pack == 1
        assert farthest(packed[cell.key], alone) < 1e-5
        assert (packed[cell.key].log["loss"] - alone.log["loss"]).abs().max() < 1e-5


def test_cells_that_do_not_fit_wait_their_turn(mixed, data, packed):
    waiting = by_key(mixed, data, cells_per_pack=2)
    assert {finished.cells_in_pack for finished in waiting.values()} == {2}
    assert max(farthest(packed[key], waiting[key]) for key in packed) < 1e-5


def test_the_seconds_of_a_packs_cells_are_shares_of_the_packs(mixed, data):
    """Each cell has its share of the time, not all of it: together no more than there was."""
    started = time.monotonic()
    outcomes = by_key(mixed, data)
    assert 0 < sum(finished.seconds for finished in outcomes.values()) <= time.monotonic() - started


def test_adapters_of_another_shape_are_packed_apart(cell, data):
    cells = [cell("small", lora=Lora(rank=2, alpha=4)), cell("usual"), cell("small too", lora=Lora(rank=2, alpha=4))]
    packs = {key: finished.cells_in_pack for key, finished in by_key(cells, data).items()}
    assert packs == {"small": 2, "small too": 2, "usual": 1}


def test_a_pack_that_was_killed_goes_on_to_the_same_adapters(mixed, data, packed):
    """Killed after its third step, with states from the second or earlier: as a pod is that was evicted."""
    kept = {}

    class Kept:
        seconds_between = 0.0

        def read(self, cell):
            return kept.get(cell.key)

        def write(self, cell, state):
            kept[cell.key] = state

    def die(key, step, steps):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(train_cells(mixed, data, die, checkpoints=Kept()))
    assert set(kept) == {cell.key for cell in mixed}

    steps = []
    resumed = by_key(mixed, data, checkpoints=Kept(), on_step=lambda key, step, _: steps.append((key, step)))
    assert min(steps)[1] == 4 == min(step for _, step in steps)
    for key, finished in packed.items():
        assert resumed[key].files == finished.files, key
        assert resumed[key].log.equals(finished.log), key


@pytest.mark.parametrize("harm", ["read", "write"])
def test_a_store_that_fails_costs_checkpoints_not_cells(mixed, data, packed, harm):
    def fail(*_):
        raise OSError("the store is not there")

    broken = SimpleNamespace(seconds_between=0.0, read=lambda cell: None, write=lambda cell, state: None)
    setattr(broken, harm, fail)
    outcomes = by_key(mixed, data, checkpoints=broken)
    assert max(farthest(packed[key], outcomes[key]) for key in packed) < 1e-5


def test_dropout_is_another_at_every_step_and_needs_no_history(cell, data):
    def drawn(seed, done):
        run = cell_run.CellRun(cell(seed=seed, lora=Lora(rank=2, dropout=0.5)), data)
        run.done = done
        run.next_batch()
        return tuple(torch.rand(4, generator=run.dropout).tolist())

    assert len({drawn(seed, done) for seed in (1, 2) for done in (0, 1, 2)}) == 6
    assert drawn(1, 2) == drawn(1, 2)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_layers_gradients_with_dropout_are_those_of_autograd(device):
    """The code of both devices, run here; the second of three adapters has no tokens."""
    torch.manual_seed(0)
    whose = torch.tensor([0] * 8 + [2] * 12)
    layout = AdapterLayout(torch.tensor([0, 0, 2, 2, 2]), (8, 0, 12), block=4)
    base = torch.nn.Linear(6, 5).requires_grad_(False)
    a, b, inputs = torch.randn(3, 2, 6), torch.randn(3, 5, 2), torch.randn(20, 6)
    kept, factor = (torch.rand(20, 6) > 0.3).float() / 0.7, torch.randn(20, 5)

    stacked = [stacked_lora._Weight(weight, torch.zeros_like(weight)) for weight in (a, b)]
    layer = SimpleNamespace(base=base, a_KRI=stacked[0], b_KOR=stacked[1], scale=1.5)
    own_inputs, anchor = inputs.clone().requires_grad_(), torch.zeros((), requires_grad=True)
    found = stacked_lora.PRODUCTS[device].apply(own_inputs, anchor, layer, layout, kept)
    (found * factor).sum().backward()

    leaves = [value.clone().requires_grad_() for value in (a, b, inputs)]
    adapted = torch.einsum("tor,tri,ti->to", leaves[1][whose], leaves[0][whose], leaves[2] * kept)
    expected = base(leaves[2]) + 1.5 * adapted
    (expected * factor).sum().backward()
    assert torch.allclose(found, expected, atol=1e-5)
    for gradient, leaf in zip((stacked[0].gradient, stacked[1].gradient, own_inputs.grad), leaves, strict=True):
        assert torch.allclose(gradient, leaf.grad, atol=1e-5)


def test_dropout_is_a_cells_own(cell, data):
    def with_dropout(key, seed):
        return cell(key, seed=seed, steps=4, lora=Lora(rank=8, alpha=16, dropout=0.3))

    ours, other = with_dropout("ours", 1), with_dropout("other", 2)
    together = by_key([other, ours], data)["ours"]
    (alone,) = train_cells([ours], data)
    (without,) = train_cells([cell("ours", seed=1, steps=4)], data)
    assert farthest(together, alone) < 1e-5
    assert farthest(together, without) > 1e-4


def test_dropout_leaves_out_the_share_that_was_asked_for_and_keeps_the_mean(data):
    lora = Lora(rank=2, alpha=4, dropout=0.25)
    order, row = as_row(initial_weights(data.language_model, lora, seed=0))
    stack = StackedLora(data.language_model, lora, order, [row])
    stack.generators = [torch.Generator().manual_seed(3)]
    kept = stack.kept(torch.ones(1_000, 50), SimpleNamespace(places_by_adapter=(1_000,)))
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (kept == 0).float().mean() == pytest.approx(0.25, abs=0.01)


def test_a_pack_that_runs_out_of_memory_goes_on_with_fewer_cells(mixed, data, packed, monkeypatch):
    real = packed_engine.passes_of

    def passes_of(stack, runs, fits):
        found = real(stack, runs, fits)
        if len(runs) > 2 or len(found) < len(runs):
            raise torch.OutOfMemoryError("no room for two at once, or for three at all")
        return found

    monkeypatch.setattr(packed_engine, "passes_of", passes_of)
    outcomes = by_key(mixed, data)
    assert max(farthest(packed[key], outcomes[key]) for key in packed) < 1e-5

    monkeypatch.setattr(packed_engine, "_step", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all")))
    assert all(
        isinstance(outcome, FailedCell) and "none at all" in outcome.reason for outcome in train_cells(mixed, data)
    )


def test_running_out_of_memory_between_two_looks_at_the_losses_loses_no_step(mixed, data, packed, monkeypatch):
    """On a GPU losses are looked at every few steps only."""
    real_step, steps = packed_engine._step, []

    def step(stack, runs, *how):
        steps.append(len(runs))
        if len(steps) in (3, 4, 5, 6):
            raise torch.OutOfMemoryError("no room for a while")
        return real_step(stack, runs, *how)

    monkeypatch.setattr(packed_engine, "_step", step)
    monkeypatch.setitem(packed_engine.LOOK_EVERY, "cpu", 10)
    outcomes = by_key(mixed, data)
    assert min(steps) < len(mixed), "some cells had to wait, in the middle of their way"
    for key, finished in packed.items():
        assert farthest(finished, outcomes[key]) < 1e-5
        assert outcomes[key].log["loss"].to_list() == pytest.approx(finished.log["loss"].to_list(), abs=1e-5), key
        assert outcomes[key].log["learning_rate"].equals(finished.log["learning_rate"]), key


def test_a_cell_that_must_wait_keeps_nothing_of_its_pack(cell, data):
    run = cell_run.CellRun(cell(), data)
    pack = torch.randn(5, len(run.row_P))
    run.row_P.data, run.row_P.grad = pack[2], torch.zeros_like(pack)[2]
    run.leave_the_pack()
    assert torch.equal(run.row_P, pack[2])
    assert run.row_P.untyped_storage().nbytes() == pack[2].nbytes
    assert run.row_P.grad is None


@pytest.mark.parametrize("tokens_per_pass", [1, 1_200, 100_000])
def test_how_many_cells_pass_the_model_at_once_changes_nothing(mixed, data, packed, monkeypatch, tokens_per_pass):
    monkeypatch.setattr(packed_engine, "pack_that_fits", lambda *_: Pack(5, tokens_per_pass, tokens_per_pass))
    outcomes = by_key(mixed, data)
    assert max(farthest(packed[key], outcomes[key]) for key in packed) < 1e-5


@pytest.mark.parametrize(("room_for", "expected"), [(0.5, 1), (1, 1), (2.5, 2), (100, 4)])
def test_passes_are_on_their_way_together_only_as_far_as_memory_goes(mixed, data, room_for, expected):
    """Four cells of which each is a pass; memory holds the activations of some."""
    runs = [cell_run.CellRun(mixed[0], data) for _ in range(4)]
    stack = StackedLora(data.language_model, LORA, runs[0].order, [run.row_P for run in runs])
    tokens = sum(runs[0].tokens_of_steps()) / runs[0].steps
    fits = Pack(4, 1, int(room_for * tokens) + 1)
    assert passes.at_once(passes.passes_of(stack, runs, fits), fits) == expected


def test_graphs_hold_every_batch_until_a_cell_ends(mixed, data):
    """Of the cells of one pass only: 1 to 3, of which number 3 ends first, after four steps."""
    runs = [cell_run.CellRun(cell, data) for cell in mixed]
    for run in runs:
        run.done = 1
    stack = StackedLora(data.language_model, LORA, runs[0].order, [run.row_P for run in runs])
    wanted = passes._GraphedPass(stack, runs, range(1, 4)).wanted()
    assert len(wanted) <= passes.GRAPHS
    assert all(sizes.holds(BatchSizes.of(example, block=1)) for sizes, example in wanted)
    assert all(larger.holds(sizes) for (sizes, _), (larger, _) in pairwise(wanted))
    for ahead in range(3):
        batch = [run.pairs_of_step(ahead) if number in (1, 2, 3) else [] for number, run in enumerate(runs)]
        assert wanted[-1][0].holds(BatchSizes.of(batch, block=1))


def test_what_a_gpu_computes_with_is_the_same(mixed, data, packed, monkeypatch):
    """Blocks of places instead of pieces, and fused parts (not compiled): a GPU's code, as far as a CPU can run it."""
    monkeypatch.setitem(stacked_lora.PRODUCTS, "cpu", stacked_lora.PRODUCTS["cuda"])
    monkeypatch.setitem(pair_batch.BLOCK, "cpu", 32)
    monkeypatch.setattr(pair_reader, "FUSED_ON", ("cpu",))
    monkeypatch.setattr(pair_reader, "_compiled", lambda function: function)
    fused = pair_reader.PairReader(data.language_model.model)._replaceable
    assert sorted(part.__name__ for part in fused.values()) == ["_FusedMlp"] * 2 + ["_FusedNorm"] * 5
    outcomes = by_key(mixed, data)
    assert max(farthest(packed[key], outcomes[key]) for key in packed) < 1e-5


def test_a_batch_padded_for_a_cuda_graph_has_the_same_gradients(data, tiny, cell):
    order, row = as_row(initial_weights(tiny, LORA, seed=5))
    torch.manual_seed(0)
    rows = [row + 0.01 * torch.randn(len(row)) for _ in range(3)]
    tokens = data.tokens(cell().pair_ids[:8])
    pairs = [tokens[:3], [], tokens[3:]]

    def gradients(batch):
        stack = StackedLora(tiny, LORA, order, rows)
        stack.begin_step()
        with stack.on_the_model():
            found = response_tokens(tiny.model, batch, stack.last_hidden_state(batch), squares=True)
            by_text = sum_by_text(found.logp_C, batch)
            (by_text * torch.arange(16.0).view(8, 2)).sum().backward()
        return by_text, mean_alignment(found, batch), stack.gradient_KP

    batch = lay_out(pairs, tiny.model.device, padded=True, block=16)
    sizes = BatchSizes.of(pairs, block=16)
    larger = BatchSizes(*(size + 32 for size in astuple(sizes)))
    padded = pad(batch, replace(larger, slots=len(batch.attention.token_S) + 9))
    assert len(padded.ids_T) == sizes.places + 32
    for found, expected in zip(gradients(padded), gradients(batch), strict=True):
        assert torch.allclose(found, expected, atol=1e-4)
    assert gradients(padded)[2][1].abs().max() == 0


def test_sizes_are_those_of_the_batch(data, cell):
    tokens = data.tokens(cell().pair_ids[:9])
    pairs = [tokens[:4], [], tokens[4:]]
    batch = lay_out(pairs, torch.device("cpu"), padded=False, block=32)
    layout, read = batch.attention, batch.read
    lengths = map(
        len,
        (
            batch.ids_T,
            layout.filled_R,
            layout.token_S,
            layout.twice_P,
            torch.zeros(sum(read.adapters.places_by_adapter)),
            read.place_Q,
            batch.target_C,
        ),
    )
    sizes = BatchSizes.of(pairs, block=32)
    assert astuple(sizes) == tuple(lengths)
    assert sizes.holds(BatchSizes.of(pairs[:1], block=32))
    assert not BatchSizes.of(pairs[:1], block=32).holds(sizes)


def test_stacked_adapters_compute_what_peft_computes(cell, data, tiny, tmp_path):
    """Logits of two trained adapters in one batch, against each adapter loaded by PEFT."""
    trained = [*train_cells([cell("one", seed=1, steps=4), cell("two", seed=2, steps=4)], data)]
    own = data.tokens(cell().pair_ids[:6])
    rows = [as_row(weights_of(finished)) for finished in trained]
    stack = StackedLora(tiny, LORA, rows[0][0], [row for _, row in rows])
    batch = lay_out([own[:2], own[2:]], tiny.model.device, padded=True)
    with torch.no_grad(), stack.on_the_model():
        states = stack.last_hidden_state(batch)[batch.before_C]
        found = output_head(tiny.model)(states)

    begin = 0
    for number, (finished, pairs) in enumerate(zip(trained, (own[:2], own[2:]), strict=True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in finished.files.items():
            (folder / name).write_bytes(content)
        fresh = LanguageModel.from_files(tiny.to_files(), name="tiny").model
        adapted = peft.PeftModel.from_pretrained(fresh, str(folder))
        for pair in pairs:
            for answer in (pair.chosen, pair.rejected):
                with torch.no_grad():
                    logits = adapted(torch.tensor([[*pair.prompt, *answer]])).logits[0, len(pair.prompt) - 1 : -1]
                assert torch.allclose(found[begin : begin + len(answer)], logits, atol=1e-5)
                begin += len(answer)
    assert begin == len(found)


def test_texts_of_very_different_lengths_are_read_as_each_alone(pairs, tiny, reference_logps):
    import polars as pl

    odd = pairs.head(12).with_columns(
        prompt=pl.Series([[{"role": "user", "content": "why? " * (1 + 5 * row)}] for row in range(12)]),
        chosen=pl.Series(["no " * (1 + (7 * row) % 30) for row in range(12)]),
        rejected=pl.Series(["" if row == 3 else "yes " * (1 + (11 * row) % 40) for row in range(12)]),
    )
    encoded = encode_pairs(odd, tiny.tokenizer, 256)
    from prefassets.domain.training.completions import complete

    found = complete(tiny, encoded.tokens()).logp
    for row, pair in enumerate(encoded.tokens()):
        for side, answer in enumerate((pair.chosen, pair.rejected)):
            with torch.no_grad():
                steps = tiny.model(torch.tensor([[*pair.prompt, *answer]])).logits[0].double().log_softmax(-1)
            expected = sum(steps[len(pair.prompt) - 1 + at, token].item() for at, token in enumerate(answer))
            assert found[row, side] == pytest.approx(expected, abs=1e-4)


def test_memory_grows_by_adapters_and_activations_never_by_a_base_model(data, tiny, cell):
    pairs = data.tokens(cell().pair_ids)
    measured = memory_of_cell(tiny, LORA, pairs[:4])
    adapter = sum(weight.numel() for weight in initial_weights(tiny, LORA, 0).values())
    assert measured.adapter == 16 * adapter  # weight, gradient, two moments: four bytes each
    of_more_pairs = memory_of_cell(tiny, LORA, pairs[:16])
    assert measured.per_token == pytest.approx(of_more_pairs.per_token, rel=0.1)
    hidden, layers = 96, 2
    assert 4 * hidden * layers < measured.per_token < 4 * 100 * hidden * layers


def test_cells_at_once_follow_free_memory(data, tiny, cell, monkeypatch):
    from prefassets.domain.training import memory

    pairs = data.tokens(cell().pair_ids)
    of_cell = memory_of_cell(tiny, LORA, pairs[:2])
    for_logits = memory.LOGITS_AT_ONCE["cpu"] * memory.BYTES_PER_LOGIT

    def with_free(for_adapters, for_tokens):
        free = (for_logits + for_adapters * of_cell.adapter + for_tokens * of_cell.per_token) / memory.SHARE
        monkeypatch.setattr(memory, "free_memory", lambda device: free + 1)
        return pack_that_fits(tiny, LORA, pairs)

    tokens_like_three_adapters = 3 * of_cell.adapter / of_cell.per_token
    fitting = int(tokens_like_three_adapters)
    assert with_free(3, tokens_like_three_adapters) == Pack(3, fitting, fitting)
    assert with_free(0, 0) == Pack(1, 1, 1)
    most = with_free(1e6, 1e6)
    assert (most.cells, most.tokens_per_pass) == (memory.MOST_CELLS["cpu"], memory.MOST_TOKENS["cpu"])
    assert most.tokens_at_once > 100 * memory.MOST_TOKENS["cpu"], "what pays in one pass bounds no other pass"


def test_bfloat16_packs_are_close_to_trl(cell, tiny, encoded):
    from prefassets.domain.training.reference import reference_pass

    half = LanguageModel.from_files(tiny.to_files(), name="tiny", precision="bfloat16")
    reference = reference_pass(half, encoded).pivot("response", index="pair_id", values="logp")
    data = TrainingData(half, encoded, {pair_id: logps for pair_id, *logps in reference.iter_rows()})
    cells = [cell(f"{seed}", seed=seed, steps=6, precision="bfloat16") for seed in (1, 2)]
    packed, by_trl = by_key(cells, data), by_key(cells, data, engine="trl")
    for key in packed:
        assert packed[key].log["loss"].to_list() == pytest.approx(by_trl[key].log["loss"].to_list(), abs=0.02)


class RerunGraph:
    """Stands where a CUDA graph would: a replay computes the captured pass again on what its inputs now hold."""

    def __init__(self):
        self.rerun = None

    def replay(self):
        self.rerun()


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Everything that training does on a GPU, but for the kernels: graphs, attention without padding, blocks."""
    last_call, graphs = [], []

    @contextmanager
    def capturing(graph, pool):
        yield
        (one_pass, inputs, reference, numbers) = last_call
        graph.rerun = lambda: numbers.copy_(real(one_pass, inputs, reference))
        graphs.append(graph)

    real = passes.Pass._forward_and_back

    def remembered(one_pass, batch, reference):
        numbers = real(one_pass, batch, reference)
        last_call[:] = one_pass, batch, reference, numbers
        return numbers

    def text_by_text(query, key, value, layout, scaling):
        bounds = layout.begin_N.tolist()
        texts = [
            scaled_dot_product_attention(
                *(states[begin:end].transpose(0, 1) for states in (query, key, value)),
                is_causal=True,
                scale=scaling,
                enable_gqa=True,
            ).transpose(0, 1)
            for begin, end in pairwise(bounds)
        ]
        rest = torch.full_like(query[bounds[-1] :], float("nan"))  # what flash attention leaves there is nobody's
        return torch.cat([*texts, rest])

    for name, fake in {
        "CUDAGraph": RerunGraph,
        "graph": capturing,
        "graph_pool_handle": lambda: None,
        "Stream": lambda: SimpleNamespace(wait_stream=lambda other: None),
        "current_stream": lambda: SimpleNamespace(wait_stream=lambda other: None),
        "stream": lambda stream: nullcontext(),
        "empty_cache": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(passes.Pass, "_forward_and_back", remembered)
    monkeypatch.setattr(pair_reader, "_variable_length", text_by_text)
    monkeypatch.setattr(pair_reader.PairReader, "pads_attention", False)
    monkeypatch.setitem(stacked_lora.PRODUCTS, "cpu", stacked_lora.PRODUCTS["cuda"])
    monkeypatch.setitem(pair_batch.BLOCK, "cpu", 32)
    monkeypatch.setattr(cores, "cores_of_this_process", lambda: 1)
    monkeypatch.setattr(passes, "cores_of_this_process", lambda: 1)
    return graphs


@pytest.mark.parametrize("tokens_per_pass", [1_200, 100_000])
def test_replayed_graphs_train_the_same_adapters(mixed, data, packed, as_on_a_gpu, monkeypatch, tokens_per_pass):
    monkeypatch.setattr(packed_engine, "pack_that_fits", lambda *_: Pack(5, tokens_per_pass, tokens_per_pass))
    outcomes = by_key(mixed, data)
    assert as_on_a_gpu  # there were some
    assert max(farthest(packed[key], outcomes[key]) for key in packed) < 1e-4  # another attention, other roundings
    for key, column in product(packed, WEIGHTS):
        ours, expected = (found[key].log[column].to_list() for found in (outcomes, packed))
        assert ours == pytest.approx(expected, abs=1e-4), (key, column)


def test_a_model_that_cannot_be_captured_trains_without_graphs(mixed, data, packed, as_on_a_gpu, monkeypatch):
    def refuse(graph, pool):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    outcomes = by_key(mixed, data)
    assert max(farthest(packed[key], outcomes[key]) for key in packed) < 1e-4  # another attention, other roundings
