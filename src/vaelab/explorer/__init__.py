"""The latent space as a web page in which encoder and decoder run."""
