"""Requests: body, features and classification; the models and engines that they are matched with."""
