"""The control plane in virtual time: the same manager as in the scheduler service, over engines that are models."""
