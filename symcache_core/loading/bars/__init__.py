"""The store of bars: frames, rows, and the checksummed Parquet files that they are kept in."""
