"""A new plugin: a distribution that works, to be changed into another."""
