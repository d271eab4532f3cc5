"""From boards to a decision: recommend a defense, gate a model, keep the inventory (PROTOCOL 8)."""
