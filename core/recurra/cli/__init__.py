"""The command line: thin commands over the verbs, and how their results are shown."""
