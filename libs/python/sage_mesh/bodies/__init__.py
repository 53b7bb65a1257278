"""Bodies that are too long for a message: images, sound and documents, as base64."""
