"""The images: found, verified and held in memory as uint8."""
