"""An entry and its bytes: written, read, merged, and kept in storage that may fail."""
