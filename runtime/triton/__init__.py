"""A Triton model repository made of exported models and plans."""
