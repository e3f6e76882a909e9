"""What an experiment's probes have to do with each other: directions, transfer, agreement.

Cosines are of directions as they are stored, per unit of activation, so `array_cosine_similarity` of two rows of
`probes.direction` is the same number, and what adding one direction to a hidden state does to the other's readout. They
say nothing of how alike the readouts are of hidden states as they come: features are correlated and of unequal size, so
nearly orthogonal directions may read off the same, and alike ones something else. That is the cosine after whitening,
the correlation of the two readouts over items; `agreement` is that, held out. Both are nearer to 0 than they would be
with directions that are known exactly.

If all directions were alike, chance would keep cosines in D dimensions within 1.96 / root of D. Hidden states lie in
few dimensions, and so do directions that are fitted to them, whatever to: unrelated ones have larger cosines. So each
probe is also fitted to shuffled labels, with its own penalty, and its shuffles are compared with the other probe's
direction, and the other way round; the wider of the two counts. Of targets of noise, and of unrelated directions, in
64 dimensions of which the k-th is 1, 1 / k or 1 / k^2 wide, 91 to 99 % of 150 cosines were within that, 37 to 96 %
within 1.96 / root of 64.

Transfer is to what a probe has not seen. Folds are of units and the same for all targets, so a probe that was fitted
without a fold has seen none of its units, under whatever target; what it says of another target there is held out.
"""

# N items, P rows of a target (values, or answered pairs), D width, F folds, K shuffles, U units

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.probes.asked import Asked, Probed, Where, asked, in_order
from prefassets.domain.probes.baselines import shuffled_items
from prefassets.domain.probes.folds import dealt_folds
from prefassets.domain.probes.observed import Choices, Observed, Values
from prefassets.domain.probes.row_space import RowSpace, row_space
from prefassets.domain.probes.suite import Found

SHUFFLES = 20  # of each probe's labels
NORMAL_95 = 1.96  # standard deviations to either side that hold 95 % of normal draws
FEWEST_ROWS = 3
ROUNDING = 1e-12

Array = NDArray[np.float64]
SIDE = {"target": pl.String(), "probe": pl.String(), "layer": pl.Int64(), "position": pl.String()}
SCHEMA = {
    **{f"{name}_{side}": dtype for side in ("a", "b") for name, dtype in SIDE.items()},
    **dict.fromkeys(
        ("cosine", "cosine_by_chance", "agreement", "transfer", "lower", "upper", "transfer_by_chance"), pl.Float64()
    ),
    "rows": pl.Int64(),
}


def cross_probe(
    probed: Probed, found: Found, *, folds: int = 5, shuffles: int = SHUFFLES, seed: int = 0
) -> pl.DataFrame:
    """Every two probes of one layer and position, and every two of one target and kind at different ones.

    Pairs are ordered: a is the probe, b whose target it predicts; the diagonal is there.
    - `cosine`: of the directions fitted to all rows. On the diagonal the mean over two fits that lack a fold each: how
      far a direction hangs on who it was fitted to. They share the other folds, so fits to different units would be
      less alike; and it is no ceiling, as two targets of the same rows share these rows' noise, and their directions
      may be more alike than that. Empty across layers.
    - `cosine_by_chance`: half-width of what holds 95 % of cosines with directions fitted to shuffled labels; also empty
      across layers.
    - `agreement`: Pearson r over all items of what both read off, each held out.
    - `transfer`: Pearson r of b's target with what a predicts of it, from b's activations; of choices, with what a says
      of the difference between the two items, each choice counting both ways round. Within folds, the mean of the
      fitted rows is taken out of both. Empty across layers, whose features are not the same.
    - `lower`, `upper`: of transfer: from Fisher's z, whose variance is that of the influence of units (of choices, of
      the units of both items: Aronow, Samii and Assenova 2015, Political Analysis 23), the probes being what they are.
    - `transfer_by_chance`: half-width of what holds 95 % of transfers of a's shuffles. Where hidden states lie in few
      dimensions an unrelated direction predicts something, so an interval without 0 does not say that two targets have
      anything in common.
    - `rows`: rows of b predicted; 0 across layers.

    Args:
        probed: what the suite was run on.
        found: what it found; of targets that could not be probed there are no rows.
        folds, seed: as the suite was run with.
        shuffles: of each probe's labels, at least 2.

    Raises:
        ValueError: `found` is of other folds or other activations, or there are fewer than 2 shuffles.
    """
    if shuffles < 2:
        raise ValueError(f"{shuffles} shuffles; at least 2 say how far cosines reach by chance")
    crossing = _Crossing(in_order(probed), found, folds, shuffles, seed)
    return pl.DataFrame(list(crossing.rows()), schema=SCHEMA)


_Key = tuple[str, str, int, str]


@dataclass(frozen=True)
class _Probe:
    """One probe: fitted to all rows, and without each fold; `shuffled_KD` to shuffled labels."""

    asked: Asked
    where: Where
    direction_D: Array
    fold_directions_FD: Array
    shuffled_KD: Array

    @property
    def key(self) -> _Key:
        return (self.asked.target.name, self.asked.kind.name, *self.where)

    @property
    def of(self) -> dict[str, object]:
        return dict(zip(SIDE, self.key, strict=True))


class _Crossing:
    def __init__(self, probed: Probed, found: Found, folds: int, shuffles: int, seed: int) -> None:
        self.activations = probed.activations
        self.units = probed.items["unit"].to_list()
        self.unit_N = np.unique(np.asarray(self.units, dtype=str), return_inverse=True)[1]
        self.fold_N = dealt_folds(self.units, folds, seed)
        self.folds, self.shuffles, self.seed = folds, shuffles, seed
        self.given: dict[bytes, list[NDArray[np.int64]]] = {}
        _refuse_other_folds(probed, found, self.fold_N)
        names = set(found.directions["target"])
        targets = [asked(one, probed.items, folds, self.fold_N) for one in probed.targets if one.name in names]
        self.probes = [probe for where in self.activations for probe in self._probes(targets, found, where)]
        self.readouts = {where: self._readouts(where) for where in self.activations}

    def _probes(self, targets: list[Asked], found: Found, where: Where) -> list[_Probe]:
        (layer, position), activations_ND = where, self.activations[where]
        here = {"layer": layer, "position": position}
        spaces: dict[bytes, RowSpace] = {}
        probes = []
        for one in targets:
            of = here | {"target": one.target.name, "probe": one.kind.name}
            whole = found.directions.filter(**of)
            if whole.is_empty():
                raise ValueError(f"no direction of {one.target.name} at layer {layer}, {position}: probe these again")
            direction_D = np.asarray(whole["direction"][0], dtype=np.float64)
            if len(direction_D) != activations_ND.shape[1]:
                raise ValueError(
                    f"the direction of {one.target.name} at layer {layer}, {position} has {len(direction_D)} numbers, "
                    f"activations have {activations_ND.shape[1]}; probe these again"
                )
            without = {row["fold"]: row["direction"] for row in found.fold_directions.filter(**of).to_dicts()}
            # What has no rows in a fold was fitted without it anyway.
            by_fold = [np.asarray(without.get(fold, direction_D), dtype=np.float64) for fold in range(self.folds)]
            named = one.observed.named
            if (same := named.tobytes()) not in spaces:
                spaces[same] = row_space(activations_ND, named)
            shuffled_KD = self._shuffled(one, spaces[same], float(whole["alpha"][0]))
            probes.append(_Probe(one, where, direction_D, np.stack(by_fold), shuffled_KD))
        return probes

    def _shuffled(self, one: Asked, space: RowSpace, alpha: float) -> Array:
        """Directions fitted to shuffled labels with the probe's own penalty, K x D."""
        penalties_A = np.array([alpha])
        named = one.observed.named
        given = self._given(named)
        if isinstance(one.observed, Values):
            at = np.empty(len(self.units), dtype=np.int64)
            at[one.observed.items_P] = np.arange(len(one.observed))
            labels_PK = np.column_stack([one.observed.values_PT[at[given_n], 0] for given_n in given])
            fitted = one.kind.fit(space, Values(named, labels_PK), penalties_A)
            return space.weights(fitted.coefficients_ATR[0].T).T
        found = []
        for given_n in given:
            given_N = np.arange(len(self.units))
            given_N[named] = given_n
            fitted = one.kind.fit(space, one.observed.told_of(given_N), penalties_A)
            found.append(space.weights(fitted.coefficients_ATR[0].T)[:, 0])
        return np.stack(found)

    def _given(self, named: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """For each shuffle, of each item named the one whose label it is given."""
        if (same := named.tobytes()) not in self.given:
            units = [self.units[item] for item in named]
            self.given[same] = [named[shuffled_items(units, self.seed + number)] for number in range(self.shuffles)]
        return self.given[same]

    def rows(self) -> Iterator[dict[str, object]]:
        for where, activations_ND in self.activations.items():
            in_layer = [one for one in self.probes if one.where[0] == where[0]]
            shuffled = {one.key: activations_ND @ one.shuffled_KD.T for one in in_layer}
            for b in self.probes:
                if b.where != where:
                    continue
                told = self._told(b.asked.observed)
                for a in self.probes:
                    if a.where == b.where or a.key[:2] == b.key[:2]:
                        yield self._of(a, b) | (self._within(a, b, told, shuffled[a.key]) if a in in_layer else {})

    def _of(self, a: _Probe, b: _Probe) -> dict[str, object]:
        readout_a_N, readout_b_N = self.readouts[a.where][a.key], self.readouts[b.where][b.key]
        row = {f"{name}_{side}": value for side, one in (("a", a), ("b", b)) for name, value in one.of.items()}
        return row | {"agreement": _correlation(readout_a_N, readout_b_N), "rows": 0}

    def _within(self, a: _Probe, b: _Probe, told: _Told, shuffled_NK: Array) -> dict[str, object]:
        """What is only told within a layer."""
        return {
            "cosine": _cosine_of(a, b),
            "cosine_by_chance": _by_chance(a, b),
            "transfer_by_chance": _half_width(told.transfers(shuffled_NK)),
        } | correlation(told.paired(self.readouts[b.where][a.key]))

    def _readouts(self, where: Where) -> dict[_Key, Array]:
        """What each probe of this layer reads off every item here, by the fit without its fold, less what that reads
        off the mean of the rows that it was fitted to."""
        activations_ND = self.activations[where].astype(np.float64)
        found = {}
        for one in self.probes:
            if one.where[0] != where[0]:
                continue
            named_N = np.zeros(len(activations_ND), dtype=bool)
            named_N[one.asked.observed.named] = True
            readout_NF = activations_ND @ one.fold_directions_FD.T
            for fold in range(self.folds):
                readout_NF[:, fold] -= readout_NF[named_N & (self.fold_N != fold), fold].mean()
            found[one.key] = readout_NF[np.arange(len(activations_ND)), self.fold_N]
        return found

    def _told(self, observed: Observed) -> _Told:
        """The rows of a target that are held out, the mean of the rows fitted taken out of each fold's."""
        told = observed.of(np.flatnonzero(observed.fold_of(self.fold_N) >= 0))
        if isinstance(told, Choices):
            answers_P = told.wins_a_P + told.wins_b_P
            return _Told(told, told.wins_a_P / answers_P - 0.5, answers_P, self.unit_N[np.stack([told.a_P, told.b_P])])
        value_P, fold_P = told.values_PT[:, 0], self.fold_N[told.items_P]
        fitted_F = np.array([value_P[fold_P != fold].mean() for fold in range(self.folds)])
        about_P = value_P - fitted_F[fold_P]
        unit_P = self.unit_N[told.items_P]
        return _Told(told, about_P - about_P.mean(), np.ones(len(told)), np.stack([unit_P, unit_P]))


@dataclass(frozen=True)
class _Told:
    """Rows of a target, to be predicted."""

    observed: Observed
    about_P: Array
    weight_P: Array
    unit_2P: NDArray[np.int64]

    def ahead(self, readout_NK: Array) -> Array:
        """What is read off the items of each row, P x K; choices count both ways round, so nothing is to be centred."""
        if isinstance(self.observed, Choices):
            return readout_NK[self.observed.a_P] - readout_NK[self.observed.b_P]
        ahead_PK = readout_NK[self.observed.items_P]
        return ahead_PK - ahead_PK.mean(axis=0)

    def paired(self, readout_N: Array) -> Paired:
        ahead_P = self.ahead(readout_N[:, None])[:, 0]
        return Paired(ahead_P=ahead_P, about_P=self.about_P, weight_P=self.weight_P, unit_2P=self.unit_2P)

    def transfers(self, readout_NK: Array) -> Array:
        """r of each readout; NaN where one is always the same."""
        ahead_PK = self.ahead(readout_NK)
        weighed_P = self.weight_P * self.about_P
        size_K = (self.weight_P @ ahead_PK**2) * (weighed_P @ self.about_P)
        return np.divide(weighed_P @ ahead_PK, np.sqrt(size_K), out=np.full(len(size_K), np.nan), where=size_K > 0)


def _refuse_other_folds(probed: Probed, found: Found, fold_N: NDArray[np.int64]) -> None:
    """Predictions name the fold that held each out: another one, and what is called held out here would not be."""
    fold_of = pl.DataFrame({"item": probed.items["item"], "dealt": fold_N})
    predicted = found.predictions.select("item", "fold").unique()
    other = predicted.join(fold_of, on="item").filter(pl.col("fold") != pl.col("dealt"))
    if len(other):
        raise ValueError(
            f"{len(other)} items were held out in other folds than these; give the folds and the seed of the suite"
        )


# ---- directions


def _cosine_of(a: _Probe, b: _Probe) -> float | None:
    if a is not b:
        return _number(_cosines(a.direction_D[None], b.direction_D[None])[0, 0])
    cosine_FF = _cosines(a.fold_directions_FD, a.fold_directions_FD)
    return _number(cosine_FF[~np.eye(len(cosine_FF), dtype=bool)].mean())


def _by_chance(a: _Probe, b: _Probe) -> float | None:
    """The wider of a's shuffles beside b's direction, and b's beside a's."""
    both = [_cosines(one.shuffled_KD, other.direction_D[None])[:, 0] for one, other in ((a, b), (b, a))]
    widths = [width for one_K in both if (width := _half_width(one_K)) is not None]
    return max(widths, default=None)


def _half_width(value_K: Array) -> float | None:
    """What holds 95 %; shuffled labels may have either sign, so values are spread around zero."""
    known_K = value_K[np.isfinite(value_K)]
    return float(min(1.0, NORMAL_95 * np.sqrt(np.square(known_K).mean()))) if len(known_K) > 1 else None


def _cosines(one_KD: Array, other_KD: Array) -> Array:
    """NaN of a direction of length 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one_KD, other_KD = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one_KD, other_KD))
    return np.clip(one_KD @ other_KD.T, -1.0, 1.0)


# ---- correlations


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Rows of a correlation: what is ahead and what it is about, their means taken out (or zero, where each row counts
    both ways round), how much each row counts, and the two units that it is of, maybe the same."""

    ahead_P: Array
    about_P: Array
    weight_P: Array
    unit_2P: NDArray[np.int64]


def correlation(paired: Paired) -> dict[str, object]:
    """`transfer`, its ends and `rows`: r = sum w x y / root of (sum w x^2 sum w y^2). What is not defined is left out.

    The influence of a row on r is w (zx zy - r (zx^2 + zy^2) / 2) / sum w, z being divided by the root mean square.
    Fisher's z spreads by that over 1 - r^2. Rows of a common unit are not independent: squares of sums over units, less
    the squares of rows that would count for both of their units.
    """
    rows = len(paired.weight_P)
    weight_P = paired.weight_P / (paired.weight_P.sum() or 1.0)
    sizes = [np.sqrt((weight_P * values_P**2).sum()) for values_P in (paired.ahead_P, paired.about_P)]
    units, unit_P = np.unique(paired.unit_2P, return_inverse=True)
    if rows < FEWEST_ROWS or min(sizes) == 0:
        return {"rows": rows}
    ahead_P, about_P = paired.ahead_P / sizes[0], paired.about_P / sizes[1]
    correlation = float(np.clip((weight_P * ahead_P * about_P).sum(), -1.0, 1.0))
    found: dict[str, object] = {"transfer": correlation, "rows": rows}
    if len(units) < FEWEST_ROWS or abs(correlation) > 1 - ROUNDING:
        return found
    influence_P = weight_P * (ahead_P * about_P - correlation * (ahead_P**2 + about_P**2) / 2)
    one_P, other_P = unit_P.reshape(2, -1)
    two_P = one_P != other_P
    influence_U = np.bincount(one_P, influence_P, len(units)) + np.bincount(other_P, influence_P * two_P, len(units))
    squares = float((influence_P**2).sum())
    variance = (
        max(float((influence_U**2).sum() - (influence_P[two_P] ** 2).sum()), squares) * len(units) / (len(units) - 1)
    )
    half = NORMAL_95 * np.sqrt(variance) / (1 - correlation**2)
    lower, upper = np.tanh(np.arctanh(correlation) + np.array([-half, half]))
    return found | {"lower": float(lower), "upper": float(upper)}


def _correlation(one_N: Array, other_N: Array) -> float | None:
    if len(one_N) < FEWEST_ROWS or min(np.ptp(one_N), np.ptp(other_N)) == 0:
        return None
    return _number(np.corrcoef(one_N, other_N)[0, 1])


def _number(value: float) -> float | None:
    return float(np.clip(value, -1.0, 1.0)) if np.isfinite(value) else None
