"""A convolutional VAE with a residual block on either side."""

from blocks import Residual
from torch import nn

from vaelab.models import VAE, ImageShape, models


@models.register("residual")
class ResidualVAE(VAE):
    def __init__(
        self, image_shape: ImageShape, parameters_per_pixel: int = 1, latent_dim: int = 2, channels: int = 16
    ) -> None:
        image_channels, height, width = image_shape
        inner = (channels, height // 2, width // 2)
        features = inner[0] * inner[1] * inner[2]
        encoder = nn.Sequential(
            nn.Conv2d(image_channels, channels, 3, stride=2, padding=1), Residual(channels),
            nn.Flatten(), nn.Linear(features, 2 * latent_dim),
        )  # fmt: skip
        decoder = nn.Sequential(
            nn.Linear(latent_dim, features), nn.Unflatten(1, inner), Residual(channels),
            nn.ConvTranspose2d(channels, parameters_per_pixel * image_channels, 4, stride=2, padding=1),
        )  # fmt: skip
        super().__init__(image_shape, latent_dim, encoder, decoder)
