"""Whether the traffic still is what the model is meant for: distributions of scores and inputs against references."""
