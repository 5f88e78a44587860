"""What the plug-in is made of; the installer puts backend.link and what it needs beside this file."""
