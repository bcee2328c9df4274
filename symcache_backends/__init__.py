"""The backends that come with symcache: siblings, none of which knows another."""
