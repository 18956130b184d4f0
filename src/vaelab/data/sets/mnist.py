"""MNIST: handwritten digits (LeCun et al. 1998)."""

from vaelab.data.datasets import EMBEDDED, DatasetSpec, register

register(
    DatasetSpec(
        name="mnist",
        title="MNIST",
        folder="MNIST",
        system_folder="mnist",
        classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
        digests={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        urls=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        subset=EMBEDDED / "MNIST" / "raw",
        fixed_binarisation={  # Larochelle & Murray (2011)
            "binarized_mnist_train.amat": 50_000,
            "binarized_mnist_valid.amat": 10_000,
            "binarized_mnist_test.amat": 10_000,
        },
    ),
    __name__,
)
