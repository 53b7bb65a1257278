"""What the mesh does under many streams, under too much load, and when a gateway dies."""
