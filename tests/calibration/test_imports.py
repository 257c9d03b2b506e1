from __future__ import annotations

import subprocess
import sys


def test_calibration_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import alexnet.calibration.calibrate, alexnet.calibration.console, alexnet.calibration.output\n"
        "print([name for name in sys.modules if name.startswith(('alexnet.train', 'alexnet.runtime'))])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout == "[]\n", out.stderr
