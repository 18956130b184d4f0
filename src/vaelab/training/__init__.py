"""Training: the loop, its checkpoints, what is drawn on the way, and the session that joins them."""
