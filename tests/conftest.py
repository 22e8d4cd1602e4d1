"""Before everything else, for all tests."""

# Imported after usearch, OpenVINO writes models that nobody can read ("Cannot parse dimension"): the two carry C++
# libraries of their own that mix. No process of Lehr's uses both; the tests' one does.
import openvino  # noqa: F401
