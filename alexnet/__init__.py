"""What every stage of the toolchain shares, free of any framework.

The stages are the packages beside this one: `alexnet.train`, `alexnet.export`, `alexnet.calibration`,
`alexnet.runtime` and `alexnet.reproduce`. This package imports none of them.
"""

__version__ = "0.1.0"
