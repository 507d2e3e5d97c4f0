"""Where do images lie? Folders, lists, tables, stores."""
