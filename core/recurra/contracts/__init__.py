"""What a plugin must be: components, their options, and the five kinds a task is made of."""
