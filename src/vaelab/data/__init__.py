"""The images: found, verified and kept in memory as uint8."""
