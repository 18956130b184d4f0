"""The data sets: one module each, with what must be known before any file is read."""
