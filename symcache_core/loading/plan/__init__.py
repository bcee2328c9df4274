"""Which bars there should be, which are missing, and which requests bring them."""
