"""What a knowledge base costs, and how often it finds the passage that answers."""
