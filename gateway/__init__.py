"""The outermost ring: settings, composition, local servers and the command line."""
