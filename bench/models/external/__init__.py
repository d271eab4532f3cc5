"""Models that somebody else trained: read from a file, asked over HTTP, or called."""
