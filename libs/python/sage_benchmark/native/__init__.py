"""What the C++ operators save, beside other libraries that do the same: ``sage bench native``."""
