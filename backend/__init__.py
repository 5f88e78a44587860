"""The command line and, later, the daemon: everything between image files or editors and `gknet.Harmonizer`."""
