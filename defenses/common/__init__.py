"""What several defenses share: accounting, private training steps, detectors and answers."""
