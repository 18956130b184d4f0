"""Numbers from tensors; nothing here opens a file."""
