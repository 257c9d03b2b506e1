"""The paper's experiments and figures, and what needs training and runtime together. Nothing imports this package."""
