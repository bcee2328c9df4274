"""How a thing is done once, many at a time, or later: none of it knows a symbol."""
