"""MLflow as a sink: what is still to be sent, what a run holds there, and how it is read back."""
