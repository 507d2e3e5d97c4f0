"""Where do images lie? In folders, lists, tables, shards, stores."""
