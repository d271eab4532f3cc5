"""What several attacks share: solvers, generators, priors and the protocol of federated clients."""
