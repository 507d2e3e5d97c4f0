"""How do weights move? Groups of parameters, learning rates, optimizers, precision, clipping."""
