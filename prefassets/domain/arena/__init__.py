"""Which of two answers people prefer, predicted by a finetuned language model: Chatbot Arena's battles to scores."""

import prefassets.domain.training  # noqa: F401  what it settles has to be settled before torch is loaded, here too
