"""From records to boards: pure functions of one long table."""
