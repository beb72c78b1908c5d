"""Speed of beam search beside other implementations, on the same weights and prompts."""
