"""How does a photo become the views that a network sees?"""
