"""What a language model prefers: from its choices to utilities, and how far to believe them."""
