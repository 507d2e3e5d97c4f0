"""Where do images lie? On a disk, in a store, in shards."""
