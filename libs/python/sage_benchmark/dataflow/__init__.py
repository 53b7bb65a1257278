"""What pipelines cost: ``sage bench dataflow``."""
