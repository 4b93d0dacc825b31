"""Imports torch, though it only lists."""

import torch  # noqa: F401
