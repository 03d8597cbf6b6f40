"""The Deep Dream daemon and its command line."""
