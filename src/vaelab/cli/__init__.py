"""Everything that knows Hydra: the entry wrapper, help, sweeps."""
