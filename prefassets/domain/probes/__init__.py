"""Hidden states of a model, and what a linear probe can read off them, beside what it could read off nothing."""
