"""Our entry in the hosts' configuration files, with the commands `install` and `uninstall`.

command     how this installation is invoked, by a person and by a host
paths       where the hosts keep their configuration files
entry       our entry: what it contains, and whether an existing one is ours
config      a host's configuration file: its entry, the text changed in place, reading and replacing the file
cli         the commands
"""
