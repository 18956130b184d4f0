"""Building blocks that several models share."""

from torch import Tensor, nn


class Residual(nn.Module):
    """x + f(x), where f is two convolutions, each after batch norm and ReLU (He et al. 2016, ECCV)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        norms = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.body = nn.Sequential(norms[0], nn.ReLU(), first, norms[1], nn.ReLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
