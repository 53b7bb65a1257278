"""An OpenAI-compatible server as an engine sees it: connections, errors, health. Needs aiohttp, httptools and
aiohappyeyeballs."""
