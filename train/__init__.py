"""Training: data, augmentation, the torch network, the update rule, the loop and checkpoints."""
