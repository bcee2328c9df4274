"""One lookup, and many: the near cache, the storage, the provider, and the figures of it all."""
