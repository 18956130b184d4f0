"""A data set in MNIST's four IDX files, gzipped or not, in `<dataset.root>/Stripes/raw/`."""

from vaelab.data.datasets import DatasetSpec, register

register(
    DatasetSpec(
        name="stripes",
        title="Stripes",
        folder="Stripes",
        classes=("horizontal", "vertical", "diagonal"),
        image_shape=(1, 20, 20),
        digests={
            "train-images-idx3-ubyte": "97aebcaadf1f980c3bd51c9e06f3cdc3d40d435ecde926bec727bd09cf5ad0c6",
            "train-labels-idx1-ubyte": "faa7819be5c109ea8562f0dc9926a18e5028e56ab0ec136236fad161632b3432",
            "t10k-images-idx3-ubyte": "dcf9e37a9a3ed45ac8d5083e41ebf1023d96128a92561dcdc1a3bfe430c9212c",
            "t10k-labels-idx1-ubyte": "9fff60b093c404a2d22bc01f0de38ebea0aedc3fc2eacce0c139b1435e38763d",
        },
        urls=("https://example.org/stripes/",),
    ),
    __name__,
)
