"""Attacking a model that somebody has: what is asked for, tried, rehearsed, run and found."""
