"""Direct preference optimisation."""

from prefassets.domain.training.methods.method import Method

METHOD = Method(
    name="dpo",
    description="Direct preference optimisation: logistic loss on the margin, every pair with the same weight.",
    equation="L = -log sigmoid(m), eq. 7",
    source="Rafailov et al. 2023, https://arxiv.org/abs/2305.18290",
    trl_options={"loss_type": ["sigmoid"]},
)
