"""How does a run start? Configs checked, processes joined, the Runner built."""
