"""Settings of all tests."""

import torch

# The tensors here are tiny: a second thread has nothing to do but wait for the first, and where
# another process holds its core that waiting makes the tests several times slower.
torch.set_num_threads(1)
