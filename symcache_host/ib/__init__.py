"""What the host service knows of Interactive Brokers; needs ``symcache[ib]``."""
