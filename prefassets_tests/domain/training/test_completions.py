"""Statistics of a large vocabulary's logits against the definitions in double precision, however peaked they are."""

import pytest
import torch

from prefassets.domain.training import completions

VOCABULARY = 151_936  # Qwen2.5's
TOKENS = 9


def logits(kind):
    torch.manual_seed(0)
    normal = torch.randn(TOKENS, VOCABULARY)
    if kind == "peaked":
        normal[range(TOKENS), range(0, 7 * TOKENS, 7)] = torch.linspace(15, 60, TOKENS)
    scaled = {"flat": 0 * normal, "usual": 3 * normal, "far from zero": 3 * normal + 500, "wide": 30 * normal}
    return scaled.get(kind, normal)


@pytest.mark.parametrize("kind", ["flat", "usual", "far from zero", "wide", "peaked"])
@pytest.mark.parametrize("rows_at_once", [1, 4])
def test_log_probabilities_and_sums_of_squares_are_exact_to_rounding(kind, rows_at_once, monkeypatch):
    monkeypatch.setattr(completions, "LOGITS_IN_CACHE", rows_at_once * VOCABULARY)
    logits_CV, target_C = logits(kind), torch.randint(VOCABULARY, (TOKENS,))
    target_C[0] = logits_CV[0].argmax()
    exact_CV = logits_CV.double().softmax(-1)
    exact_logp_C = logits_CV.double().log_softmax(-1)[range(TOKENS), target_C]

    logp_C, squares_C, probability_CV = completions._statistics("cpu")(logits_CV, target_C, True, True)
    assert torch.allclose(logp_C.double(), exact_logp_C, rtol=2e-7, atol=1e-6)
    assert torch.allclose(squares_C.double(), exact_CV.square().sum(-1).log(), rtol=2e-7, atol=1e-6)
    assert torch.allclose(probability_CV.double(), exact_CV, rtol=1e-5, atol=1e-7)


def test_gradients_of_log_probabilities_are_those_of_autograd(monkeypatch):
    monkeypatch.setattr(completions, "LOGITS_AT_ONCE", {"cpu": 50 * 7})
    monkeypatch.setattr(completions, "LOGITS_IN_CACHE", 50 * 3)
    torch.manual_seed(0)
    state_CD, weight_VD, factor_C = torch.randn(20, 8), torch.randn(50, 8), torch.randn(20)
    target_C = torch.randint(50, (20,))

    own_CD = state_CD.clone().requires_grad_()
    logp_C, squares_C = completions._ResponseTokens.apply(own_CD, target_C, weight_VD, True, True)
    (logp_C * factor_C).sum().backward()
    exact_CD = state_CD.double().requires_grad_()
    exact_CV = (exact_CD @ weight_VD.double().T).log_softmax(-1)
    (exact_CV[range(20), target_C] * factor_C).sum().backward()
    assert torch.allclose(own_CD.grad.double(), exact_CD.grad, atol=1e-5)
    assert torch.allclose(squares_C.double(), exact_CV.exp().square().sum(-1).log(), atol=1e-6)
    assert not squares_C.requires_grad
