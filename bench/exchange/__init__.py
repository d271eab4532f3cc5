"""Results that travel: packs are made, read, joined, compared, verified and run again."""
