"""How long a test waits for what never takes long: a bound for what hangs, however busy the machine is."""

PATIENCE = 120.0
