"""Changes the environment of whoever lists it."""

import os

os.environ["OMP_NUM_THREADS"] = "7"
