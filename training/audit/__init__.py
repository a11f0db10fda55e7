"""A run's teacher looks over what a service scored: reads its audit files, scores them, reports the disagreement."""
