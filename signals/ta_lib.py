"""TA-Lib, imported without pandas.

The package `talib` imports pandas wherever it is installed (a second and 60 MB), only to accept its series.
"""

import sys

_HIDDEN = "pandas" not in sys.modules
if _HIDDEN:
    sys.modules["pandas"] = None  # type: ignore[assignment]  # an import of it fails as if it were not installed
try:
    import talib as talib  # noqa: PLC0414 - imported for others
finally:
    if _HIDDEN:
        del sys.modules["pandas"]
