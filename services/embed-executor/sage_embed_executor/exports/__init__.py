"""Models in the form that a faster runtime takes: made once, in a process of its own, and kept in the user's cache."""
