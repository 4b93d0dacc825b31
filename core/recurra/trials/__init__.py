"""Many runs of related tasks, beside each other in processes, each finished once."""
