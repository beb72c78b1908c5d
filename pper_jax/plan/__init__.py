"""What a run would take on other hardware: its steps compiled ahead of time, and what the compiled modules say."""
