"""EMNIST Letters: handwritten letters, upper and lower case of a letter in one class (Cohen et al. 2017)."""

from string import ascii_lowercase

from vaelab.data.sets._emnist import register_emnist

register_emnist("letters", "EMNIST Letters", ascii_lowercase, first_label=1)
