"""EMNIST Digits: 280,000 handwritten digits (Cohen et al. 2017)."""

from string import digits

from vaelab.data.sets._emnist import register_emnist

register_emnist("digits", "EMNIST Digits", digits, first_label=0)
