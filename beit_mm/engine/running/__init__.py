"""What happens while a run goes on? Hooks and loops: saving, resuming, guarding, scheduling."""
