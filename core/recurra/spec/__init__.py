"""What a task may say: the core's own tables, the TOML reader with positions, layers and
overrides.
"""
