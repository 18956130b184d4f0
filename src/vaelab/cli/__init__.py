"""The modules that use Hydra: the entry wrapper, help, sweeps."""
