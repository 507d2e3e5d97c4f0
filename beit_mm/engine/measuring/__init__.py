"""How good is it? Validation metrics, and what frozen features know."""
