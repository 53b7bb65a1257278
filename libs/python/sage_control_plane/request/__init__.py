"""What a request is: its body, features and class; and the models and engines that it is matched with."""
