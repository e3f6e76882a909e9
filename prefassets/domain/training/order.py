"""In which order a cell sees its pairs. Its own function, so that every engine shows a seed the same batches."""

from random import Random


def data_order(n_pairs: int, steps: int, batch_size: int, seed: int) -> list[list[int]]:
    """Positions (in the cell's canonical list of pairs) that make up each step's batch.

    Each epoch is a fresh permutation of all pairs, and a batch may run from one epoch into the next, so no pair is seen
    twice before all are seen once. A permutation sorts the pairs by numbers of `random.Random(seed).random()`, the one
    generator whose sequence Python promises to keep between versions.
    """
    if n_pairs < 1:
        raise ValueError("a cell needs at least one training pair")
    generator = Random(seed)
    order: list[int] = []
    while len(order) < steps * batch_size:
        key = [generator.random() for _ in range(n_pairs)]
        order += sorted(range(n_pairs), key=key.__getitem__)
    return [order[step * batch_size : (step + 1) * batch_size] for step in range(steps)]
