"""Training of DiTMC networks: configuration, optimiser schedule, EMA, checkpoints, logging and the loop."""
