"""Other vendors' chat APIs, each translated to and from OpenAI's chat completions."""
