"""What of a config cannot work, and what of it means something else than it seems to?"""
