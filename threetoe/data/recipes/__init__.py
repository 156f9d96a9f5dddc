"""Named datasets: a YAML file says how the rows of a source become chats."""
