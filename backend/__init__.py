"""The command line and the daemon: everything between image files or editors and `gknet.Harmonizer`."""
