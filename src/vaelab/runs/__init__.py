"""What a run needs around it: its directory, files and locks, the environment, random streams."""
