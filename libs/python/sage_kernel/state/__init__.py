"""Checkpoints: what a run needs in order to go on after it was stopped or killed."""
