"""A model behind HTTP: how it is asked, what it answered, and what may still be asked."""
