"""Our entry in the hosts' configuration files, with the commands `install` and `uninstall`."""
