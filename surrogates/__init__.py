DEFAULT_SEED = 1
DEFAULT_SAMPLES = 8192
"""With which the models that ship were trained."""
