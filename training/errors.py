"""What goes wrong before or between the stages of a training run, told so that the reader knows what to do."""


class TrainingError(Exception):
    """A run that cannot start or go on: wrong configuration, unusable data, a stage out of order."""
