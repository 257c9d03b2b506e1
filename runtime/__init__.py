"""Runtime: backends, batched ten-crop inference and the parity check. Never imports torch."""
