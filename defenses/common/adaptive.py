"""Names of attacks that adapt to many defenses, for their ``adaptive_attacks``."""

BASIC = ("prior_inversion", "attribute_map", "basket_decoder")
"""Attacks that adapt to every defense: they fit a model on what the defended target answers."""
GENERATIVE = (*BASIC, "lomma", "plg_mi")
"""Attacks on a network that was trained in another way: these two also search with a generator."""
SCORES = (*BASIC, "latent_evolution", "class_decoder", "inverse_decoder", "score_classifier")
"""Attacks on a deployment whose scores are changed, or that watches who asks."""
