"""Which of two answers people prefer, predicted by a finetuned language model: Chatbot Arena's battles to scores."""
