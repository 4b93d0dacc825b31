"""Encoder, stack of cells, head: the network; and the device that it runs on."""
