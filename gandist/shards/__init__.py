"""Images on storage: packed into WebDataset shards, indexed in Parquet, ordered, and streamed to the ranks."""
