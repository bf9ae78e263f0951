"""`twin assess`: the virtual line under the twin and its alternatives, from the same seeds."""
