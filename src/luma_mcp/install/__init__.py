"""Our entry in the hosts' configuration files: written, shown, read and removed, with all else left as it is."""
